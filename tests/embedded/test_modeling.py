"""Parts of detectors against numbers computed by hand, and with empty inputs; on either host."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, Backbone, detector_postprocess
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.modeling.proposal_generator.proposal_utils import (
    add_ground_truth_to_proposals,
    find_top_rpn_proposals,
)
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn
from toy_model import ToyBackbone


class ConstantBackbone(Backbone):
    """Return maps of 1 channel, strides 4 and 8, and values 1 and 10."""

    def __init__(self):
        super().__init__()
        self._out_features = ["fine", "coarse"]
        self._out_feature_channels = {"fine": 1, "coarse": 1}
        self._out_feature_strides = {"fine": 4, "coarse": 8}

    def forward(self, x):
        height, width = x.shape[-2:]
        fine = x.new_ones(len(x), 1, height // 4, width // 4)
        return {"fine": fine, "coarse": 10 * fine[..., ::2, ::2]}


def test_fpn_merges_top_down():
    fpn = FPN(ConstantBackbone(), ["fine", "coarse"], 1)
    for key, parameter in fpn.named_parameters():
        nn.init.zeros_(parameter)
        if key.endswith("weight"):
            parameter.data[:, :, parameter.shape[2] // 2, parameter.shape[3] // 2] = 1
    out = fpn(torch.zeros(2, 3, 32, 16))
    assert list(out) == ["p2", "p3"]
    torch.testing.assert_close(out["p2"], torch.full((2, 1, 8, 4), 11.0))
    torch.testing.assert_close(out["p3"], torch.full((2, 1, 4, 2), 10.0))
    assert fpn.size_divisibility == 8


def test_fpn_top_block_and_names():
    fpn = FPN(ToyBackbone(), ["res3", "res4"], 6, norm="BN")
    assert list(fpn.output_shape()) == ["p3", "p4"]
    assert fpn.output_shape()["p4"] == ShapeSpec(channels=6, stride=16)
    keys = fpn.state_dict()
    assert "fpn_lateral3.norm.weight" in keys and "fpn_lateral3.bias" not in keys
    pool = LastLevelMaxPool()
    assert (pool.in_feature, pool.num_levels) == ("p5", 1)
    ramp = torch.arange(16.0).view(1, 1, 4, 4)
    assert pool(ramp)[0].tolist() == [[[[0, 2], [8, 10]]]]


@pytest.mark.parametrize("features", [["res2", "res4"], []])
def test_fpn_refuses_features_that_are_not_a_pyramid(features):
    with pytest.raises(AssertionError):
        FPN(ToyBackbone(), features, 8)


def test_anchors_by_hand():
    generator = DefaultAnchorGenerator(
        sizes=[[4, 8]], aspect_ratios=[[1.0, 4.0]], strides=[10], offset=0.5
    )
    assert generator.num_anchors == [4]
    (anchors,) = generator([torch.zeros(1, 3, 1, 2)])
    first = [[3, 3, 7, 7], [4, 1, 6, 9], [1, 1, 9, 9], [3, -3, 7, 13]]
    second = [[x0 + 10, y0, x1 + 10, y1] for x0, y0, x1, y1 in first]
    assert anchors.tensor.tolist() == first + second
    assert not generator.state_dict()


def test_anchor_ratios_apply_to_all_levels_and_other_counts_are_refused():
    generator = DefaultAnchorGenerator(
        sizes=[[8], [16]], aspect_ratios=[0.5, 1.0, 2.0], strides=[4, 8]
    )
    assert generator.num_anchors == [3, 3]
    with pytest.raises(AssertionError):
        DefaultAnchorGenerator(sizes=[[8]] * 3, aspect_ratios=[1.0], strides=[4, 8])


QUALITY = torch.tensor([[0.1, 0.3, 0.7, 0.2, 0.69], [0.0, 0.2, 0.8, 0.4, 0.69]])


def test_matcher_intervals_are_closed_below():
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1])(QUALITY)
    assert matches.tolist() == [0, 0, 1, 1, 0] and labels.tolist() == [0, -1, 1, -1, -1]
    assert labels.dtype == torch.int8


def test_matcher_low_quality_keeps_the_best_of_each_ground_truth():
    quality = torch.tensor([[0.1, 0.2, 0.2], [0.9, 0.1, 0.1]])
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)(quality)
    assert labels.tolist() == [1, 1, 1] and matches.tolist() == [1, 0, 0]


def test_matcher_without_ground_truth_and_with_invalid_arguments():
    matches, labels = Matcher([0.5], [0, 1])(torch.zeros(0, 3))
    assert matches.tolist() == [0, 0, 0] and labels.tolist() == [0, 0, 0]
    for thresholds, labels in (([0.7, 0.3], [0, -1, 1]), ([0.5], [0]), ([0.5], [0, 7])):
        with pytest.raises(AssertionError):
            Matcher(thresholds, labels)


def test_box_transform_and_its_inverse_by_hand():
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    source, target = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[1.0, 1, 5, 9]])
    deltas = transform.get_deltas(source, target)
    expected = torch.tensor([[2.5, 7.5, 0.0, 5 * math.log(2)]])
    torch.testing.assert_close(deltas, expected)
    both = transform.apply_deltas(deltas.repeat(1, 2), source)
    torch.testing.assert_close(both, target.repeat(1, 2))
    # growth is bounded
    huge = transform.apply_deltas(torch.tensor([[0.0, 0, 1e4, 0]]), source)
    torch.testing.assert_close(huge[0, 2] - huge[0, 0], torch.tensor(4 * 1000 / 16))
    assert transform.apply_deltas(torch.zeros(0, 8), torch.zeros(0, 4)).shape == (0, 8)
    assert transform.apply_deltas(deltas.half(), source).dtype == torch.float32
    with pytest.raises(AssertionError):
        transform.get_deltas(torch.tensor([[0.0, 0, 0, 4]]), target)


def test_subsample_labels_counts():
    labels = torch.tensor([-1] * 5 + [7] * 20 + [0, 1, 2])  # 20 background, 3 foreground
    positive, negative = subsample_labels(labels, 8, 0.5, bg_label=7)
    assert sorted(positive.tolist()) == [25, 26, 27] and len(set(negative.tolist())) == 5
    assert (labels[negative] == 7).all()
    positive, negative = subsample_labels(labels, 8, 0.25, bg_label=7)
    assert (len(positive), len(negative)) == (2, 6)
    positive, negative = subsample_labels(labels[:5], 8, 0.25, bg_label=7)
    assert (len(positive), len(negative)) == (0, 0)


def test_pooler_crops_each_box_from_the_level_of_its_size():
    sides = [0, 50, 112, 223.9, 224, 448, 9000]
    boxes = Boxes(torch.tensor([[0.0, 0, side, side] for side in sides]))
    levels = assign_boxes_to_levels([boxes[:3], boxes[3:]], 2, 5, 224, 4)
    assert levels.tolist() == [0, 0, 1, 1, 2, 3, 3]

    pooler = ROIPooler(2, [1 / 4, 1 / 8], 0, "ROIAlignV2", canonical_box_size=32, canonical_level=3)
    maps = [torch.full((2, 1, 16, 16), 2.0), torch.full((2, 1, 8, 8), 3.0)]
    maps[0][1], maps[1][1] = 20.0, 30.0
    small, large = torch.tensor([[8.0, 8, 16, 16]]), torch.tensor([[8.0, 8, 48, 48]])
    crops = pooler(maps, [Boxes(torch.cat((large, small))), Boxes(small)])
    assert crops.shape == (3, 1, 2, 2) and crops[:, 0, 0, 0].tolist() == [3, 2, 20]
    empty = Boxes(torch.zeros(0, 4))
    assert pooler(maps, [empty, empty]).shape == (0, 1, 2, 2)
    with pytest.raises(AssertionError):
        ROIPooler(2, [1 / 4, 1 / 16], 0, "ROIAlignV2")
    with pytest.raises(ValueError):
        ROIPooler(2, [1 / 4], 0, "MaxPool")


def top_proposals(boxes, logits, training=False, pre=10, post=10, min_size=0.0):
    options = (0.7, pre, post, min_size, training)
    return find_top_rpn_proposals(boxes, logits, [(50, 50)], *options)[0]


def test_top_proposals_suppress_within_a_level():
    box, near, far = [0.0, 0, 20, 20], [0.0, 0, 20, 19], [30.0, 30, 60, 60]
    levels = [torch.tensor([[box, near, far]]), torch.tensor([[box]])]
    logits = [torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.5]])]
    proposals = top_proposals(levels, logits)
    assert proposals.objectness_logits.tolist() == [2.0, 1.5, 0.0]
    assert proposals.proposal_boxes.tensor[2].tolist() == [30, 30, 50, 50]  # clipped
    assert top_proposals(levels, logits, pre=1).objectness_logits.tolist() == [2.0, 1.5]
    assert top_proposals(levels, logits, post=1).objectness_logits.tolist() == [2.0]
    assert len(top_proposals(levels, logits, min_size=20.0)) == 0


def test_top_proposals_that_are_not_finite():
    boxes = [torch.tensor([[[0.0, 0, 20, 20], [0, 0, float("nan"), 5], [1, 1, 9, 9]]])]
    logits = [torch.tensor([[0.0, 1.0, float("inf")]])]
    assert len(top_proposals(boxes, logits)) == 1
    with pytest.raises(FloatingPointError, match="diverged"):
        top_proposals(boxes, logits, training=True)


def test_ground_truth_is_added_to_the_proposals():
    proposals = Instances((50, 50), proposal_boxes=Boxes([[0, 0, 1, 1]]))
    proposals.objectness_logits = torch.zeros(1)
    truth = Instances((50, 50), gt_boxes=Boxes([[5, 5, 9, 9]]), gt_classes=torch.tensor([2]))
    (joined,) = add_ground_truth_to_proposals([truth], [proposals])
    assert joined.proposal_boxes.tensor.tolist() == [[0, 0, 1, 1], [5, 5, 9, 9]]
    assert joined.objectness_logits[1] > 20 and not joined.has("gt_classes")


def roi_heads():
    """Make heads that can only label and sample."""
    return StandardROIHeads(
        num_classes=5,
        proposal_matcher=Matcher([0.5], [0, 1]),
        batch_size_per_image=4,
        positive_fraction=0.5,
        box_in_features=[],
        box_pooler=None,
        box_head=None,
        box_predictor=None,
    )


def proposals_of(*rows):
    return Instances((50, 50), proposal_boxes=Boxes(torch.tensor(rows, dtype=torch.float32)))


def test_roi_heads_label_and_sample():
    proposals = proposals_of([0, 0, 10, 9], [20, 20, 30, 30], [40, 40, 50, 50])
    proposals.objectness_logits = torch.zeros(3)
    truth = Instances((50, 50), gt_boxes=Boxes([[0, 0, 10, 10]]), gt_classes=torch.tensor([3]))
    truth.gt_marks = torch.tensor([42])
    with EventStorage() as storage:
        (sampled,) = roi_heads().label_and_sample_proposals([proposals], [truth])
    assert sampled.gt_classes.tolist() == [3, 3, 5, 5]  # the ground truth is one of them
    assert sampled.proposal_boxes[:2].area().sum() == 190
    assert sampled.gt_marks.tolist() == [42] * 4 and len(sampled.gt_boxes) == 4
    latest = {name: value for name, (value, _) in storage.latest().items()}
    assert latest["roi_head/num_fg_samples"] == 2 and latest["roi_head/num_bg_samples"] == 2


def test_fast_rcnn_inference_by_hand():
    a, a2, b = [0.0, 0, 10, 10], [0.0, 0, 10, 9], [20.0, 20, 99, 40]
    boxes = torch.tensor([a + a, a2 + a2, b + b])  # 2 classes
    scores = torch.tensor([[0.6, 0.3, 0.1], [0.7, 0.05, 0.25], [0.2, 0.5, 0.3]])
    (found,), (rows,) = fast_rcnn_inference([boxes], [scores], [(50, 50)], 0.1, 0.5, 100)
    torch.testing.assert_close(found.scores, torch.tensor([0.7, 0.5, 0.3, 0.2]))
    assert found.pred_classes.tolist() == [0, 1, 1, 0] and rows.tolist() == [1, 2, 0, 2]
    assert found.pred_boxes.tensor[1].tolist() == [20, 20, 50, 40]
    (found,), _ = fast_rcnn_inference([boxes], [scores], [(50, 50)], 0.1, 0.5, 2)
    assert len(found) == 2
    # one box for all classes, and a row that is not finite
    boxes = torch.tensor([a, [float("nan")] * 4, b])
    (found,), _ = fast_rcnn_inference([boxes], [scores], [(50, 50)], 0.25, 0.5, 100)
    assert found.pred_classes.tolist() == [0, 1, 1]
    (found,), _ = fast_rcnn_inference([boxes], [scores], [(50, 50)], 1.0, 0.5, 100)
    assert len(found) == 0 and found.pred_boxes.tensor.shape == (0, 4)


def box_predictor(**kwargs):
    layers = FastRCNNOutputLayers(
        ShapeSpec(channels=2, height=2, width=1),
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        num_classes=3,
        **kwargs,
    )
    for parameter in layers.parameters():
        nn.init.zeros_(parameter)
    return layers


@pytest.mark.parametrize("agnostic, columns", [(True, 4), (False, 12)])
def test_box_predictor_losses_by_hand(agnostic, columns):
    predictor = box_predictor(cls_agnostic_bbox_reg=agnostic)
    proposals = proposals_of([0, 0, 4, 4], [9, 9, 19, 19])
    proposals.gt_boxes = Boxes([[1, 0, 5, 4], [0, 0, 1, 1]])
    proposals.gt_classes = torch.tensor([1, 3])  # 3 is background
    predictions = predictor(torch.ones(2, 2, 2, 1))
    assert predictions[1].shape == (2, columns)
    with EventStorage():
        losses = predictor.losses(predictions, [proposals])
    torch.testing.assert_close(losses["loss_cls"], torch.tensor(math.log(4)))
    # |dx| = 1 / 4, over 2 proposals
    torch.testing.assert_close(losses["loss_box_reg"], torch.tensor(0.125))


def test_box_head_shapes():
    shape = ShapeSpec(channels=3, height=4, width=5)
    head = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[7, 8], conv_norm="BN")
    assert head.output_shape == ShapeSpec(channels=8)
    assert head(torch.zeros(2, 3, 4, 5)).shape == (2, 8)
    assert {"conv1.norm.weight", "fc1.weight", "fc2.bias"} <= set(head.state_dict())
    head = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[])
    assert head.output_shape == ShapeSpec(channels=6, height=4, width=5)
    with pytest.raises(AssertionError):
        FastRCNNConvFCHead(shape, conv_dims=[], fc_dims=[])


def mask_head(num_classes):
    head = MaskRCNNConvUpsampleHead(
        ShapeSpec(channels=2, height=2, width=2), num_classes=num_classes, conv_dims=[2, 2]
    )
    nn.init.zeros_(head.predictor.weight)
    head.predictor.bias.data = torch.arange(float(num_classes))
    return head


def masked_proposals(classes):
    proposals = proposals_of(*[[0, 0, 8, 8] for _ in classes])
    proposals.gt_classes = torch.tensor(classes)
    bitmaps = torch.zeros(len(classes), 8, 8)
    bitmaps[:, :, :4] = 1
    proposals.gt_masks = BitMasks(bitmaps)
    return proposals


def test_mask_loss_by_hand():
    head = mask_head(3)
    with EventStorage() as storage:
        loss = head(torch.zeros(2, 2, 2, 2), [masked_proposals([0, 2])])["loss_mask"]
    # half of the pixels are positive: class 0 has logit 0, class 2 has logit 2
    both = (math.log(1 + math.exp(2)) + math.log(1 + math.exp(-2))) / 2
    torch.testing.assert_close(loss, torch.tensor((math.log(2) + both) / 2))
    latest = {name: value for name, (value, _) in storage.latest().items()}
    assert latest["mask_rcnn/accuracy"] == 0.5
    assert latest["mask_rcnn/false_positive"] == latest["mask_rcnn/false_negative"] == 0.5


@pytest.mark.parametrize("num_classes, logit", [(3, 2.0), (1, 0.0)])
def test_mask_inference_selects_the_predicted_class(num_classes, logit):
    head = mask_head(num_classes).eval()
    detections = [Instances((8, 8), pred_classes=torch.tensor(c)) for c in ([2], [0, 1])]
    detections = head(torch.zeros(3, 2, 2, 2), detections)
    assert detections[1].pred_masks.shape == (2, 1, 4, 4)
    torch.testing.assert_close(
        detections[0].pred_masks, torch.full((1, 1, 4, 4), 1 / (1 + math.exp(-logit)))
    )


def test_postprocess_scales_clips_drops_and_pastes():
    found = Instances((10, 10), pred_boxes=Boxes([[0, 0, 5, 5], [5, 5, 5, 8], [5, 0, 12, 10]]))
    found.scores = torch.tensor([0.9, 0.8, 0.7])
    found.pred_masks = torch.ones(3, 1, 4, 4)
    out = detector_postprocess(found, 20, 40)
    assert out.image_size == (20, 40)
    assert out.pred_boxes.tensor.tolist() == [[0, 0, 20, 10], [20, 0, 40, 20]]
    torch.testing.assert_close(out.scores, torch.tensor([0.9, 0.7]))
    assert out.pred_masks.shape == (2, 20, 40)
    # the whole box without its 4 corners, where three quarters of the samples are outside
    assert out.pred_masks[0, 1:9].sum() == 160 and out.pred_masks[0].sum() == 196
