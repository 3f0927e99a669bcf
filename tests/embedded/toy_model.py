"""A Mask R-CNN small enough for tests, and inputs for it; by public names of either host."""

import numpy as np
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, Backbone, GeneralizedRCNN, StandardROIHeads
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
)
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from torch import nn

# Tensors are tiny: a second thread slows them down.
torch.set_num_threads(1)
NUM_CLASSES = 3


class ToyBackbone(Backbone):
    """Three strided convolutions with strides 4, 8, 16."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.down3 = nn.Conv2d(8, 12, 2, stride=2)
        self.down4 = nn.Conv2d(12, 16, 2, stride=2)
        self._out_features = ["res2", "res3", "res4"]
        self._out_feature_channels = {"res2": 8, "res3": 12, "res4": 16}
        self._out_feature_strides = {"res2": 4, "res3": 8, "res4": 16}

    def forward(self, x):
        res2 = self.stem(x).relu()
        res3 = self.down3(res2).relu()
        return {"res2": res2, "res3": res3, "res4": self.down4(res3).relu()}


def toy_mask_rcnn(norm="", agnostic=False, conv_dims=(-1,), mask=True, width=8):
    """Make the model; the options are those that could differ between the two hosts."""
    levels, strides = ["p2", "p3", "p4"], [4, 8, 16]
    scales = [1 / stride for stride in strides]
    crops = dict(scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2", canonical_box_size=32)
    masks = {}
    if mask:
        masks = dict(
            mask_in_features=levels,
            mask_pooler=ROIPooler(output_size=6, canonical_level=3, **crops),
            mask_head=MaskRCNNConvUpsampleHead(
                ShapeSpec(channels=width, height=6, width=6),
                num_classes=1 if agnostic else NUM_CLASSES,
                conv_dims=[width, width],
                conv_norm=norm,
            ),
        )
    return GeneralizedRCNN(
        backbone=FPN(ToyBackbone(), ["res2", "res3", "res4"], width, norm=norm),
        proposal_generator=RPN(
            in_features=levels,
            head=StandardRPNHead(in_channels=width, num_anchors=3, conv_dims=list(conv_dims)),
            anchor_generator=DefaultAnchorGenerator(
                sizes=[[12], [24], [48]], aspect_ratios=[0.5, 1.0, 2.0], strides=strides, offset=0.0
            ),
            anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
            box2box_transform=Box2BoxTransform(weights=[1.0, 1.0, 1.0, 1.0]),
            batch_size_per_image=32,
            positive_fraction=0.5,
            pre_nms_topk=(200, 100),
            post_nms_topk=(100, 50),
        ),
        roi_heads=StandardROIHeads(
            num_classes=NUM_CLASSES,
            batch_size_per_image=24,
            positive_fraction=0.25,
            proposal_matcher=Matcher([0.5], [0, 1]),
            box_in_features=levels,
            box_pooler=ROIPooler(output_size=4, canonical_level=3, **crops),
            box_head=FastRCNNConvFCHead(
                ShapeSpec(channels=width, height=4, width=4),
                conv_dims=[width] if norm else [],
                fc_dims=[16],
                conv_norm=norm,
            ),
            box_predictor=FastRCNNOutputLayers(
                ShapeSpec(channels=16),
                box2box_transform=Box2BoxTransform(weights=(10, 10, 5, 5)),
                num_classes=NUM_CLASSES,
                test_score_thresh=0.05,
                test_topk_per_image=20,
                cls_agnostic_bbox_reg=agnostic,
            ),
            **masks,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
        input_format="RGB",
    )


def toy_inputs(seed, sizes=((90, 120), (112, 80)), counts=(4, 2)):
    """Make random images with random polygons."""
    rng = np.random.default_rng(seed)
    inputs = []
    for (height, width), count in zip(sizes, counts):
        polygons, boxes = [], []
        for _ in range(count):
            center = rng.uniform(20, [width - 20, height - 20])
            angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
            radius = rng.uniform(6, 18, 7)
            points = center + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            polygons.append([points.ravel()])
            boxes.append([*points.min(axis=0), *points.max(axis=0)])
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.tensor(np.array(boxes).reshape(-1, 4)))
        instances.gt_classes = torch.tensor(rng.integers(0, NUM_CLASSES, count))
        instances.gt_masks = PolygonMasks(polygons)
        image = torch.from_numpy(rng.integers(0, 256, (3, height, width)).astype(np.uint8))
        inputs.append(
            {"image": image, "instances": instances, "height": 2 * height, "width": 2 * width}
        )
    return inputs


def assert_learns_one_batch(model):
    """Assert that training on one batch reduces its loss."""
    inputs = toy_inputs(5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    totals = []
    with EventStorage():
        for _ in range(12):
            loss = sum(model(inputs).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            totals.append(loss.item())
    assert sum(totals[-3:]) < 0.85 * sum(totals[:3])
