from ...common.models.classifier import vit_b
from ...imagenet.mvitv2_t_in1k import dataloader, lr_multiplier, model, optimizer, task, train

# The recipe of MViTv2-T and S: the paper has one for all. Drop path is that of DeiT's ViT-B.
model.backbone = vit_b(drop_path_rate=0.1)
train.output_dir = "output/table4a_vit_b_full"

published = dict(table="4a", top1=82.0, flops=17.5)
