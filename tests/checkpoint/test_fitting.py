"""Fitting weights to models, and the report about every tensor."""

import re

import pytest
import torch
from weight_files import (
    backbone_of_detector,
    classifier,
    clip_classifier,
    detector_state,
    mvit_names,
)

from mvit_det.checkpoint import fit
from mvit_det.checkpoint.layout import absent_names
from mvit_det.checkpoint.report import merge_names
from mvit_det.checkpoint.weights import from_content
from mvit_det.errors import UserError


def fitted(state, model_state, path="x.pyth"):
    return fit(from_content({"model_state": state}, path), model_state)


def test_a_classifier_of_the_same_kind_fits_completely():
    source, model = classifier(), classifier()
    result = fitted(mvit_names(source), model.state_dict())
    model.load_state_dict(result.state, strict=True)
    for name, value in source.state_dict().items():
        assert model.state_dict()[name].equal(value)
    assert result.report.complete and result.report.backbone_share == 1
    assert set(result.report.used) == set(model.state_dict())
    backbone = [name for name in model.state_dict() if name.startswith("backbone.")]
    assert result.report.backbone == backbone
    assert str(result.report) == (
        f"{len(model.state_dict())} of the model's {len(model.state_dict())} tensors come from "
        "x.pyth (MViT for images, 1-2-2-1 blocks, 16 channels, mvit)"
    )


@pytest.mark.parametrize(
    "changes",
    [
        dict(rel_pos_tables=("hw",)),
        dict(rel_pos_on="qkv"),
        dict(full_pooling="kv"),
        dict(attention="swin", adaptive_window_size=8),
        dict(width_growth=1, halving_blocks=(), full_pooling="", adaptive_kv_stride=(1, 1)),
    ],
)
def test_ablations_fit_completely(changes):
    source, model = classifier(**changes), classifier(**changes)
    result = fitted(mvit_names(source), model.state_dict())
    model.load_state_dict(result.state, strict=True)
    for name, value in source.state_dict().items():
        assert model.state_dict()[name].equal(value)
    weights = from_content({"model_state": mvit_names(source)}, "x.pyth")
    assert absent_names(weights.tensors, weights.layout) == []


def test_ablations_of_clips_fit_completely():
    changes = dict(rel_pos_tables=("t", "hw"), use_abs_pos=True)
    source, model = clip_classifier(**changes), clip_classifier(**changes)
    result = fitted(mvit_names(source), model.state_dict())
    assert result.report.complete and set(result.report.used) == set(model.state_dict())


def test_the_model_is_not_changed():
    model = classifier(use_abs_pos=True, class_token=True, input_size=(96, 96))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fitted(mvit_names(classifier(use_abs_pos=True)), model.state_dict())
    assert all(model.state_dict()[name].equal(value) for name, value in before.items())


def test_a_head_for_other_classes_is_named_with_both_numbers():
    result = fitted(mvit_names(classifier(19)), classifier(7).state_dict())
    assert result.report.mismatched == {
        "head.projection.weight": "19 classes, the model has 7",
        "head.projection.bias": "19 classes, the model has 7",
    }
    assert not result.report.missing and not result.report.dropped
    assert not result.report.complete and result.report.backbone_share == 1
    assert "head.projection.weight" not in result.state
    assert "  head.projection.{weight,bias}: 19 classes, the model has 7" in str(result.report)


@pytest.mark.parametrize(
    "name",
    [
        "patch_embed.proj.weight",
        "blocks.0.attn.rel_pos_h",
        "blocks.1.attn.proj.weight",
        "head.projection.weight",
        "pos_embed",
    ],
)
@pytest.mark.parametrize("shape", [(), (0, 16), (1, 0, 16)])
def test_a_tensor_of_an_impossible_shape_does_not_fit(name, shape):
    model = classifier(use_abs_pos=True).state_dict()
    state = {key.removeprefix("backbone."): value for key, value in model.items()}
    state[name] = torch.ones(shape)
    report = fitted(state, model).report
    assert not report.complete and (name in report.dropped or report.mismatched)


def test_a_class_token_is_dropped_or_missing():
    with_token, without = classifier(class_token=True), classifier()
    result = fitted(mvit_names(with_token), without.state_dict())
    assert result.report.dropped == {"cls_token": "the model has no class token"}
    assert result.report.complete
    result = fitted(mvit_names(without), with_token.state_dict())
    assert result.report.missing == {"backbone.cls_token": "the file has no class token"}
    assert not result.report.complete and 0.99 < result.report.backbone_share < 1


def test_a_classifier_starts_a_detector():
    backbone = backbone_of_detector()
    model = detector_state(backbone)
    result = fitted(mvit_names(classifier()), model)
    norms = {name for name in model if re.search(r"scale\d_norm", name)}
    heads = {name for name in model if "bottom_up" not in name}
    assert set(result.report.missing) == norms | heads
    assert {result.report.missing[n] for n in norms} == {"the file has no norms of feature maps"}
    assert {result.report.missing[n] for n in heads} == {"the file has no such head"}
    head = "the model has no classification head"
    norm = "the model has a norm per feature map instead"
    assert result.report.dropped == {
        "norm.weight": norm,
        "norm.bias": norm,
        "head.projection.weight": head,
        "head.projection.bias": head,
    }
    assert result.report.backbone_fitting == len(result.report.backbone) - len(norms)
    out = str(result.report)
    assert (
        "  backbone.bottom_up.{scale2_norm,scale3_norm,scale4_norm,scale5_norm}.{weight,bias}"
        in out
    )


def test_a_detector_gives_a_classifier_its_backbone():
    result = fitted(detector_state(backbone_of_detector()), classifier().state_dict())
    assert result.report.backbone_share == 1
    reasons = result.report.dropped
    assert reasons["roi_heads.box_head.fc1.weight"] == "a detector's head, not the model's"
    assert (
        reasons["backbone.bottom_up.scale3_norm.bias"]
        == "the model does not return this feature map"
    )
    assert set(result.report.missing) == {
        "norm.weight",
        "norm.bias",
        "head.projection.weight",
        "head.projection.bias",
    }


def test_a_detector_for_other_classes_and_with_other_heads():
    state = detector_state(backbone_of_detector())
    model = dict(state)
    model["roi_heads.box_predictor.cls_score.weight"] = torch.zeros(4, 8)
    del model["roi_heads.mask_head.predictor.bias"]
    report = fitted(state, model).report
    assert report.mismatched == {
        "roi_heads.box_predictor.cls_score.weight": "80 classes, the model has 3"
    }
    assert report.dropped == {"roi_heads.mask_head.predictor.bias": "the model has other heads"}


def test_buffers_from_the_config_are_not_missing():
    state = detector_state(backbone_of_detector())
    names = (
        "pixel_mean",
        "proposal_generator.anchor_generator.cell_anchors.0",
        "roi_heads.mask_head.mask_fcn1.norm.num_batches_tracked",
    )
    model = state | {name: torch.zeros(3) for name in names}
    report = fitted(state, model).report
    assert report.complete and sorted(report.configured) == sorted(names)


def test_another_place_of_expansion_names_the_override():
    source = mvit_names(classifier(expand_in="mlp"))
    with pytest.raises(
        UserError, match="x.pyth widens .* MLP .*add model.backbone.expand_in=mlp to"
    ):
        fitted(source, classifier().state_dict())
    with pytest.raises(UserError, match="add model.backbone.bottom_up.expand_in=mlp to"):
        fitted(source, detector_state(backbone_of_detector()))
    with pytest.raises(UserError, match="add model.backbone.expand_in=attention to"):
        fitted(mvit_names(classifier()), classifier(expand_in="mlp").state_dict())


def test_another_variant_differs_in_blocks():
    other = dict(last_block_indexes=(0, 2, 5, 6))
    report = fitted(mvit_names(classifier(**other)), classifier().state_dict()).report
    assert report.dropped["blocks.6.norm1.weight"] == "the model has 6 blocks"
    assert "(MViT for images, 1-2-3-1 blocks, 16 channels, mvit)" in str(report)
    report = fitted(mvit_names(classifier()), classifier(**other).state_dict()).report
    assert report.missing["backbone.blocks.6.norm1.weight"] == "the file has 6 blocks"


def test_clip_weights_do_not_fit_a_model_for_images():
    report = fitted(mvit_names(clip_classifier()), classifier().state_dict()).report
    assert "but not the reverse" in report.mismatched["backbone.patch_embed.proj.weight"]
    assert report.dropped["blocks.0.attn.rel_pos_t"] == "the model takes images"


def test_a_model_without_position_drops_the_tables():
    report = fitted(mvit_names(classifier()), classifier(use_rel_pos=False).state_dict()).report
    assert set(report.dropped.values()) == {"the model has no such position embedding"}
    assert report.complete


def test_every_tensor_of_file_and_model_is_accounted_for():
    state = mvit_names(classifier(9, class_token=True, input_size=(96, 96)))
    state["mask_token"] = torch.ones(1)
    model = detector_state(backbone_of_detector())
    result = fitted(state, model)
    report = result.report
    parts = [report.used, report.resized, report.missing, report.mismatched, report.configured]
    assert not report.zeroed
    assert sorted(name for part in parts for name in part) == sorted(model)
    assert set(result.state) == {*report.used, *report.resized}
    taken = len(report.used) + len(report.resized) + len(report.mismatched)
    assert taken + len(report.dropped) == len(state)
    assert report.dropped["mask_token"] == "part of masked pre-training"
    assert "\n  mask_token: part of masked pre-training" in str(report)


def test_other_models_are_fitted_by_name_and_shape():
    file = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(3), "c": torch.ones(1)}
    model = {"a.weight": torch.zeros(2, 2), "b.weight": torch.zeros(4), "d": torch.zeros(1)}
    result = fit(from_content({"model": file}, "x.pth"), model)
    assert set(result.state) == {"a.weight"} and result.report.backbone == list(model)
    assert result.report.mismatched == {"b.weight": "shape 3, the model has 4"}
    assert result.report.missing == {"d": "the file has no tensor of this name"}
    assert result.report.dropped == {"c": "the model has no tensor of this name"}


def test_a_file_without_tensors_ends_in_one_sentence():
    with pytest.raises(UserError, match="x.pth holds a dict with 'a', 'b' and not weights"):
        from_content({"a": 1, "b": "c"}, "x.pth")
    with pytest.raises(UserError, match="x.pth holds a list and not weights: give a file"):
        from_content([1], "x.pth")


def test_names_that_differ_in_one_part_share_a_line():
    names = [f"blocks.{n}.{a}.{p}" for n in (0, 1, 2, 5) for a in "kv" for p in ("bias", "weight")]
    assert merge_names(names) == ["blocks.{0..2,5}.{k,v}.{bias,weight}"]
    assert merge_names(["a.0.x", "a.1.x", "a.1.y"]) == ["a.0.x", "a.1.{x,y}"]
    assert merge_names(["a", "b.c"]) == ["a", "b.c"]
