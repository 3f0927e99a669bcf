from .cascade_mask_rcnn_mvitv2_t_3x import lr_multiplier, model, optimizer, task, train
from .common.data.coco_lsj import dataloader
from .common.models.mask_rcnn import mvitv2

# 36 epochs, as released; the paper says 50 (B.3).
model.backbone.bottom_up = mvitv2("H", drop_path_rate=0.6, use_act_checkpoint=True)
train.init_checkpoint = "mvitv2_h_in21k"

published = dict(
    table="5",
    box_ap=56.1,
    mask_ap=48.5,
    parameters=718,
    flops=3084,
    weights="cascade_mask_rcnn_mvitv2_h_in21k_lsj_3x",
)
