"""The quickstart, initialised from the classifier of quickstart_classification.py."""

from .quickstart import dataloader, lr_multiplier, model, optimizer, task, train

train.init_checkpoint = "output/quickstart_classification/model_final.pth"
train.output_dir = "output/quickstart_pretrained"
