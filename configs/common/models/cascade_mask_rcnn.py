"""Cascade Mask R-CNN (Cai and Vasconcelos, 2018): the heads of the released MViTv2 detectors."""

import copy

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNConvFCHead

from .mask_rcnn import box_coder, matcher, task
from .mask_rcnn import model as mask_rcnn

# Per stage: IoU from which a box is foreground; weights of the centre and of the size in the
# regression target, which grow as offsets shrink.
stages = [(0.5, 10, 5), (0.6, 20, 10), (0.7, 30, 15)]
# Batch norm over all GPUs that counts each region once. Unlike torch's SyncBatchNorm it takes
# empty batches, which the mask head gets if no proposal matches an object.
norm = "naiveSyncBN_N"


def cascade(model, conv_dims=(256, 256, 256, 256), fc_dims=(1024,)):
    """Turn a Mask R-CNN config into a Cascade Mask R-CNN config, in place, and return it.

    The dimensions are those of the three box heads. Boxes are class-agnostic, the box and mask
    heads have norms, and the RPN has two convolutions instead of one.
    """
    heads = model.roi_heads
    _, predictor, _ = (heads.pop(k) for k in ("box_head", "box_predictor", "proposal_matcher"))
    predictors = [copy.deepcopy(predictor) for _ in stages]
    for k, (_, center, size) in enumerate(stages):
        width = f"box_heads[{k}].fc_dims[{len(fc_dims) - 1}]"
        predictors[k].update(
            input_shape=L(ShapeSpec)(channels=f"${{....{width}}}"),
            box2box_transform=box_coder(center, center, size, size),
            cls_agnostic_bbox_reg=True,
            num_classes="${...num_classes}",  # one level further out, since it is in a list now
        )
    heads.update(
        _target_=CascadeROIHeads,
        box_heads=[
            L(FastRCNNConvFCHead)(
                input_shape=L(ShapeSpec)(
                    channels="${.....backbone.out_channels}", height=7, width=7
                ),
                conv_dims=list(conv_dims),
                fc_dims=list(fc_dims),
                conv_norm=norm,
            )
            for _ in stages
        ],
        box_predictors=predictors,
        proposal_matchers=[matcher([iou], [0, 1]) for iou, _, _ in stages],
    )
    heads.mask_head.conv_norm = norm
    model.proposal_generator.head.conv_dims = [-1, -1]  # -1: as many channels as the input
    return model


model = cascade(mask_rcnn)
