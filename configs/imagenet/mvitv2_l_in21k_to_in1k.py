from ..common.models.classifier import mvitv2
from .mvitv2_l_in1k_384 import dataloader, lr_multiplier, model, optimizer, task, train

# Paper, appendix B.2: 30 epochs without mixup, 7e-5 per 64 images, from the released weights
# without their head. Batch size and warm-up are our choice, as in mvitv2_t_in1k_384.py. The result
# was never released.
model.backbone = mvitv2("L", drop_path_rate=0.5, class_token=True)
optimizer.weight_decay = 0.05
train.init_checkpoint = "mvitv2_l_in21k"
train.output_dir = "output/mvitv2_l_in21k_to_in1k"

# The paper's parameters are those with expand_in="mlp"; its FLOPs are of this model.
published = dict(table="3", top1=87.5, parameters=218, flops=42.1)
