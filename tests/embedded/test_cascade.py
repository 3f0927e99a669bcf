"""The cascade against numbers computed by hand, and with empty inputs; on either host."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

SIZE = (40, 22)  # height, width


def heads(biases, thresholds, logits=None):
    """Make stages for one class that predict the same deltas and logits for every box."""
    predictors = []
    for k, bias in enumerate(biases):
        predictor = FastRCNNOutputLayers(
            ShapeSpec(channels=1),
            box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
            num_classes=1,
            cls_agnostic_bbox_reg=True,
            test_score_thresh=0.2,
        )
        nn.init.zeros_(predictor.bbox_pred.weight)
        nn.init.zeros_(predictor.cls_score.weight)
        predictor.bbox_pred.bias.data = torch.tensor([float(x) for x in bias])
        if logits:
            predictor.cls_score.bias.data = torch.tensor(logits[k]).log()
        predictors.append(predictor)
    return CascadeROIHeads(
        num_classes=1,
        batch_size_per_image=8,
        positive_fraction=0.5,
        box_in_features=["p2"],
        box_pooler=ROIPooler(1, [1 / 4], 0, "ROIAlignV2"),
        box_heads=[nn.Flatten() for _ in predictors],
        box_predictors=predictors,
        proposal_matchers=[Matcher([threshold], [0, 1]) for threshold in thresholds],
    )


def proposals_of(*rows):
    boxes = Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))
    return Instances(SIZE, proposal_boxes=boxes, objectness_logits=torch.zeros(len(rows)))


def truth_of(*rows):
    boxes = Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))
    return Instances(SIZE, gt_boxes=boxes, gt_classes=torch.zeros(len(rows), dtype=torch.long))


@pytest.fixture
def features():
    return {"p2": torch.arange(60.0).reshape(1, 1, 10, 6).requires_grad_()}


def train(model, features, proposals, targets):
    """Return the losses and the values of the event storage."""
    with EventStorage() as storage:
        _, losses = model(None, features, [proposals], [targets])
    return losses, {name: value for name, (value, _) in storage.latest().items()}


HALF_RIGHT = (0.5, 0, 0, 0)  # shifts a box by half of its width
MATCHERS = (0.5, 0.6, 0.7)


def test_stages_refine_clipped_boxes_and_scores_are_averaged(features):
    odds = [(0.9, 0.1), (0.6, 0.4), (0.3, 0.7)]
    model = heads([HALF_RIGHT] * 3, MATCHERS, odds).eval()
    (found,), losses = model(None, features, [proposals_of([10, 10, 20, 20])])
    # 10..20 -> 15..25, clipped to 22 -> 18.5..25.5, clipped -> 20.25..23.75, clipped
    assert found.pred_boxes.tensor.tolist() == [[20.25, 10, 22, 20]] and losses == {}
    torch.testing.assert_close(found.scores, torch.tensor([0.6]))
    assert found.pred_classes.tolist() == [0] and found.image_size == SIZE


def test_the_options_of_the_last_predictor_select_detections(features):
    model = heads([(0, 0, 0, 0)] * 2, MATCHERS[:2], [(0.9, 0.1), (0.7, 0.3)]).eval()
    boxes = proposals_of([0, 0, 9, 9], [10, 10, 20, 20], [0, 0, 9, 8.5])
    first, last = model.box_predictor
    first.test_score_thresh, first.test_nms_thresh, first.test_topk_per_image = 1.0, 0.0, 0
    assert len(model(None, features, [boxes])[0][0]) == 2
    last.test_nms_thresh = 0.99
    assert len(model(None, features, [boxes])[0][0]) == 3
    last.test_topk_per_image = 1
    assert len(model(None, features, [boxes])[0][0]) == 1
    last.test_score_thresh = 0.81  # the mean is 0.8
    assert len(model(None, features, [boxes])[0][0]) == 0


def test_each_stage_matches_by_its_threshold_and_keeps_all_boxes(features):
    model = heads([(0, 0, 0, 0)] * 3, MATCHERS)
    # IoU 0.65 with the object: positive in the first two stages; the object itself is added
    losses, events = train(
        model, features, proposals_of([0, 0, 10, 6.5], [0, 20, 9, 39]), truth_of([0, 0, 10, 10])
    )
    assert [events[f"{k}roi_head/num_fg_samples"] for k in ("", "stage1/", "stage2/")] == [2, 2, 1]
    assert [events[f"{k}roi_head/num_bg_samples"] for k in ("", "stage1/", "stage2/")] == [1, 1, 2]
    # half of the change of the height over the height, and the log of the ratio, over 3 boxes
    first = (1.75 / 6.5 + math.log(10 / 6.5)) / 3
    regressions = [losses[f"loss_box_reg_stage{k}"].item() for k in range(3)]
    assert regressions == pytest.approx([first, first, 0])
    for k in range(3):
        assert losses[f"loss_cls_stage{k}"].item() == pytest.approx(math.log(2))
        assert 0 <= events[f"stage{k}/fast_rcnn/cls_accuracy"] <= 1
    assert len(losses) == 6 and "fast_rcnn/cls_accuracy" not in events


def test_refined_boxes_have_no_gradient_to_the_previous_stage(features):
    model = heads([HALF_RIGHT] * 2, MATCHERS[:2])
    losses, _ = train(model, features, proposals_of([0, 0, 10, 8]), truth_of([0, 0, 10, 10]))
    losses["loss_box_reg_stage1"].backward()
    first, second = model.box_predictor
    assert first.bbox_pred.bias.grad is None and second.bbox_pred.bias.grad is not None


def test_all_stages_together_have_the_feature_gradient_of_one(features):
    gradients = []
    for stages in (1, 3):
        model = heads([(0, 0, 0, 0)] * stages, [0.5] * stages)
        for predictor in model.box_predictor:
            predictor.cls_score.weight.data = torch.tensor([[0.01], [-0.02]])
        losses, _ = train(model, features, proposals_of([0, 0, 10, 8]), truth_of([0, 0, 10, 10]))
        (gradient,) = torch.autograd.grad(sum(losses.values()), features["p2"], retain_graph=True)
        last = model.box_predictor[-1].cls_score.weight
        gradients.append((gradient, torch.autograd.grad(sum(losses.values()), last)[0]))
    (one, one_weight), (three, three_weight) = gradients
    assert one.abs().sum() > 1e-3
    torch.testing.assert_close(three, one)
    torch.testing.assert_close(three_weight, one_weight)


def test_boxes_outside_of_the_image_are_dropped_in_training_only(features):
    model = heads([(9, 0, 0, 0), (0, 0, 0, 0)], MATCHERS[:2])
    losses, events = train(model, features, proposals_of([0, 0, 10, 9]), truth_of([0, 0, 10, 10]))
    assert events["roi_head/num_fg_samples"] == 2
    assert events["stage1/roi_head/num_fg_samples"] == 0
    assert events["stage1/roi_head/num_bg_samples"] == 0
    assert losses["loss_cls_stage1"] == losses["loss_box_reg_stage1"] == 0
    sum(losses.values()).backward()
    # in evaluation they remain, because every stage scores every box
    (found,), _ = model.eval()(None, features, [proposals_of([0, 0, 10, 9])])
    assert found.pred_boxes.tensor.tolist() == [[22, 0, 22, 9]]


def test_cascade_without_objects_or_proposals(features):
    model = heads([HALF_RIGHT] * 3, MATCHERS)
    losses, events = train(model, features, proposals_of([0, 0, 10, 8]), truth_of())
    assert all(losses[f"loss_box_reg_stage{k}"] == 0 for k in range(3))
    assert all(losses[f"loss_cls_stage{k}"] > 0 for k in range(3))
    assert events["stage2/roi_head/num_bg_samples"] == 1
    (found,), _ = model.eval()(None, features, [proposals_of()])
    assert len(found) == 0 and found.pred_boxes.tensor.shape == (0, 4)
