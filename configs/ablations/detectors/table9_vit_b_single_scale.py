from mvit_det.detection import MViT

from ...common.models.mask_rcnn import single_scale
from ..attention.table4b_vit_b_full import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up._target_ = MViT  # maps as they are, of stride 16
single_scale(model, channels=768, stride=16)
train.output_dir = "output/table9_vit_b_single_scale"

published = dict(table="9", box_ap=45.1, mask_ap=40.6, flops=725)
