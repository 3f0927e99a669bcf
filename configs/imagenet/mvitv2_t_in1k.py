from ..common.data.imagenet import dataloader, train_images
from ..common.models.classifier import model, task
from ..common.optim import classification_AdamW as optimizer
from ..common.schedule import cosine_schedule, iterations
from ..common.train import train

# 300 epochs, the first 70 of them warm-up (paper, appendix B.2)
train.max_iter = iterations(300, train_images, dataloader.train.total_batch_size)
lr_multiplier = cosine_schedule(warmup=70 / 300)
train.clip_gradients = 1.0
train.best_metric = "classification/top1"
train.output_dir = "output/mvitv2_t_in1k"

# Figures of the paper: accuracy on the central crop (top1_resize: on the whole image squeezed into
# the input), millions of parameters, GFLOPs. And the trained weights, if released:
# --eval-only train.init_checkpoint=...
published = dict(table="2", top1=82.3, parameters=24, flops=4.7, weights="mvitv2_t_in1k")
