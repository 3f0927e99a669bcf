from ...cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep import (
    dataloader,
    lr_multiplier,
    model,
    optimizer,
    task,
    train,
)
from ...cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep_multiscale import model as _multiscale

# Settings that the paper does not state, as our choice is there; one view of each image.
model.soft_nms = _multiscale.soft_nms
train.output_dir = "output/tableA1_soft_nms"

published = dict(table="A.1", box_ap=56.9, mask_ap=48.6, parameters=270, flops=1519)
