"""No feature pyramid: RPN and heads work on the last block's output (paper, Table 9)."""

from .common.models.mask_rcnn import levels as _levels
from .common.models.mask_rcnn import roi_pooler
from .mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone = model.backbone.bottom_up
model.backbone.out_features = ["scale5"]  # stride 32, 768 channels

# The paper gives no further details, so the rest is our choice: the one level gets the anchors of
# all levels of the pyramid, and as many of them enter NMS. Its 276 GFLOPs confirm the widths.
model.proposal_generator.update(in_features=["scale5"], pre_nms_topk=(5 * 2000, 5 * 1000))
model.proposal_generator.head.update(in_channels=768, num_anchors=5 * 3)
model.proposal_generator.anchor_generator.update(
    sizes=[[8 * stride for stride in _levels.values()]], strides=[32]
)
for _name, _size in (("box", 7), ("mask", 14)):
    model.roi_heads[f"{_name}_in_features"] = ["scale5"]
    model.roi_heads[f"{_name}_pooler"] = roi_pooler(_size, strides=[32])
    model.roi_heads[f"{_name}_head"].input_shape.channels = 768

published = dict(table="9", box_ap=47.0, flops=276)
