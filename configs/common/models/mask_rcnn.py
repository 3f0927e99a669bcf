"""Mask R-CNN (He et al., ICCV 2017) with FPN on MViTv2: Detectron2's standard heads."""

from functools import partial

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)
from torch import nn

from mvit_det.backbone import VARIANTS, VIT_B
from mvit_det.detection import GeneralizedRCNN, MViT, ResampledMViT
from mvit_det.tasks import Detection


def mvitv2(variant, drop_path_rate, **changes):
    """Configure a variant of Table 1 as a detection backbone, with hybrid window attention."""
    row = VARIANTS[variant]
    return L(MViT)(
        embed_dim=row.embed_dim,
        depth=row.depth,
        num_heads=row.num_heads,
        last_block_indexes=row.last_block_indexes,
        drop_path_rate=drop_path_rate,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        out_features=("scale2", "scale3", "scale4", "scale5"),
        **changes,
    )


def vit_b(drop_path_rate, **changes):
    """Configure the ViT-B of Tables 4b and 9, with maps of strides 4 to 32 for a pyramid."""
    return L(ResampledMViT)(
        depth=12,
        adaptive_kv_stride=1,
        coarse_global_kv=False,
        drop_path_rate=drop_path_rate,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        pretrain_use_cls_token=False,
        out_features=("scale2", "scale3", "scale4", "scale5"),
        attention="full",
        **{**VIT_B, **changes},
    )


# Levels of the feature pyramid -> stride in pixels; regions are cropped from all but the coarsest.
levels = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
roi_levels = list(levels)[:-1]


def roi_pooler(output_size, strides=tuple(levels[name] for name in roi_levels)):
    """RoIAlign with a sampling grid that adapts to the size of the region."""
    return L(ROIPooler)(
        pooler_type="ROIAlignV2",
        output_size=output_size,
        scales=tuple(1 / stride for stride in strides),
        sampling_ratio=0,
    )


def box_coder(x, y, width, height):
    """Weights of the four box offsets in the regression target (Faster R-CNN, Eq. 2)."""
    return L(Box2BoxTransform)(weights=(x, y, width, height))


def matcher(thresholds, labels, **options):
    """IoU up to each threshold gets the label: 0 background, 1 object, -1 ignored."""
    return L(Matcher)(thresholds=thresholds, labels=labels, **options)


model = L(GeneralizedRCNN)(
    backbone=L(FPN)(
        bottom_up=mvitv2("T", drop_path_rate=0.2),
        in_features="${.bottom_up.out_features}",
        out_channels=256,
        top_block=L(LastLevelMaxPool)(),
    ),
    proposal_generator=L(RPN)(
        in_features=list(levels),
        head=L(StandardRPNHead)(in_channels="${...backbone.out_channels}", num_anchors=3),
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=[[8 * stride] for stride in levels.values()],
            aspect_ratios=[0.5, 1.0, 2.0],  # height / width
            strides=list(levels.values()),
            offset=0.0,  # the first anchor is centred on the image's corner, as in released models
        ),
        anchor_matcher=matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=box_coder(1.0, 1.0, 1.0, 1.0),
        positive_fraction=0.5,
        batch_size_per_image=256,
        nms_thresh=0.7,
        pre_nms_topk=(2000, 1000),  # in training, in testing; per level
        post_nms_topk=(1000, 1000),
    ),
    roi_heads=L(StandardROIHeads)(
        num_classes=80,
        batch_size_per_image=512,
        positive_fraction=0.25,
        proposal_matcher=matcher([0.5], [0, 1]),
        box_in_features=roi_levels,
        box_pooler=roi_pooler(7),
        box_head=L(FastRCNNConvFCHead)(
            input_shape=L(ShapeSpec)(channels="${....backbone.out_channels}", height=7, width=7),
            conv_dims=[],
            fc_dims=[1024, 1024],
        ),
        box_predictor=L(FastRCNNOutputLayers)(
            input_shape=L(ShapeSpec)(channels="${...box_head.fc_dims[1]}"),
            box2box_transform=box_coder(10, 10, 5, 5),
            num_classes="${..num_classes}",
            test_score_thresh=0.05,
        ),
        mask_in_features=roi_levels,
        mask_pooler=roi_pooler(14),
        mask_head=L(MaskRCNNConvUpsampleHead)(
            input_shape=L(ShapeSpec)(channels="${....backbone.out_channels}", height=14, width=14),
            num_classes="${..num_classes}",
            conv_dims=[256, 256, 256, 256, 256],  # four convolutions and the upsampling one
        ),
    ),
    # mean and standard deviation of ImageNet, RGB, 0 to 255
    pixel_mean=[123.675, 116.28, 103.53],
    pixel_std=[58.395, 57.12, 57.375],
    input_format="RGB",
)


def single_scale(model, channels, stride):
    """Remove the pyramid: RPN and heads work on the last block's output (Table 9); in place.

    The paper gives no further details, so the rest is our choice: the one level gets the anchors of
    all levels of the pyramid, and as many of them enter NMS.
    """
    model.backbone = model.backbone.bottom_up
    model.backbone.out_features = ["scale5"]
    rpn, heads, anchors = model.proposal_generator, model.roi_heads, len(levels) * 3
    rpn.update(in_features=["scale5"], pre_nms_topk=[len(levels) * n for n in rpn.pre_nms_topk])
    rpn.head.update(in_channels=channels, num_anchors=anchors)
    sizes = [[8 * level for level in levels.values()]]
    rpn.anchor_generator.update(sizes=sizes, strides=[stride])
    for name, size in (("box", 7), ("mask", 14)):
        heads[f"{name}_in_features"] = ["scale5"]
        heads[f"{name}_pooler"] = roi_pooler(size, strides=[stride])
        heads[f"{name}_head"].input_shape.channels = channels


# what is specific to the task: custom data, prediction, class names
task = L(Detection)()
