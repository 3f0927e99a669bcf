"""A Cascade Mask R-CNN small enough for tests; by public names of either host."""

from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
)
from torch import nn
from toy_model import NUM_CLASSES, toy_mask_rcnn

STAGES = [(0.5, (10, 10, 5, 5)), (0.6, (20, 20, 10, 10)), (0.7, (30, 30, 15, 15))]


def toy_cascade(norm="naiveSyncBN_N", mask=True, stages=STAGES, **predictor):
    """Make the toy Mask R-CNN with a cascade as box head; ``predictor``: options of its stages."""
    model = toy_mask_rcnn(norm=norm, mask=mask, conv_dims=(-1, -1))
    plain, width = model.roi_heads, 8
    masks = ("mask_in_features", "mask_pooler", "mask_head") if mask else ()
    options = dict(cls_agnostic_bbox_reg=True, test_score_thresh=0.05, test_topk_per_image=20)
    model.roi_heads = CascadeROIHeads(
        num_classes=NUM_CLASSES,
        batch_size_per_image=plain.batch_size_per_image,
        positive_fraction=plain.positive_fraction,
        box_in_features=plain.box_in_features,
        box_pooler=plain.box_pooler,
        box_heads=[
            FastRCNNConvFCHead(
                ShapeSpec(channels=width, height=4, width=4),
                conv_dims=[width, width],
                fc_dims=[16],
                conv_norm=norm,
            )
            for _ in stages
        ],
        box_predictors=[
            FastRCNNOutputLayers(
                ShapeSpec(channels=16),
                box2box_transform=Box2BoxTransform(weights=weights),
                num_classes=NUM_CLASSES,
                **{**options, **predictor},
            )
            for _, weights in stages
        ],
        proposal_matchers=[Matcher([threshold], [0, 1]) for threshold, _ in stages],
        **{name: getattr(plain, name) for name in masks},
    )
    return model


def stir(model):
    """Increase small initial weights, so that scores, boxes and masks differ."""
    for key, parameter in model.named_parameters():
        for part, gain in (("predictor", 100.0), ("rpn_head", 10.0)):
            if part in key and key.endswith("weight"):
                nn.init.normal_(parameter, std=gain * parameter.std().item())
