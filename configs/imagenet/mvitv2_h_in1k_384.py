from .mvitv2_h_in1k import model, task
from .mvitv2_l_in1k_384 import dataloader, lr_multiplier, optimizer, train

model.backbone.input_size = (384, 384)
# Never released: mvitv2_h_in1k.py makes it.
train.init_checkpoint = "output/mvitv2_h_in1k/model_final.pth"
train.output_dir = "output/mvitv2_h_in1k_384"

published = dict()
