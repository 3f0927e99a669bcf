"""Every name of every format against the models; tests/recognition compares numbers."""

import numpy as np
import pytest
import timm
import torch
from torchvision.models.video import mvit_v1_b, mvit_v2_s
from weight_files import (
    backbone_of_detector,
    classifier,
    clip_classifier,
    detector_state,
    mvit_names,
)

from mvit_det.backbone import VARIANTS
from mvit_det.checkpoint import fit
from mvit_det.checkpoint.converting import translate
from mvit_det.checkpoint.weights import from_content
from mvit_det.recognition import ClassifierMViT, Recognizer

TIMM = {
    "mvitv2_tiny": ("T", "attention", False, 1000),
    "mvitv2_small": ("S", "attention", False, 1000),
    "mvitv2_base": ("B", "attention", False, 1000),
    "mvitv2_large": ("L", "mlp", False, 1000),
    "mvitv2_small_cls": ("S", "attention", True, 1000),
    "mvitv2_base_cls": ("B", "attention", True, 19168),
    "mvitv2_large_cls": ("L", "attention", True, 19168),
    "mvitv2_huge_cls": ("H", "attention", True, 19168),
}


def shapes(state):
    return {name: tuple(value.shape) for name, value in state.items()}


def test_all_mvitv2_of_timm_are_listed():
    assert set(TIMM) == set(timm.list_models("mvitv2*"))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if "huge" in n else ()) for n in TIMM]
)
def test_timms_models_are_ours_name_by_name(name):
    variant, expand_in, class_token, classes = TIMM[name]
    row = VARIANTS[variant]
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
        ours = Recognizer(
            ClassifierMViT(
                embed_dim=row.embed_dim,
                num_heads=row.num_heads,
                last_block_indexes=row.last_block_indexes,
                class_token=class_token,
                expand_in=expand_in,
            ),
            classes,
        ).state_dict()
    weights = from_content(state, name)
    assert (weights.format, weights.left_out) == ("timm", {})
    assert weights.layout.variant == variant and weights.layout.depths == row.depths
    assert (weights.layout.expand_in, weights.layout.class_token) == (expand_in, class_token)
    assert weights.layout.classes == classes
    fitted = fit(weights, ours)
    assert shapes(fitted.state) == shapes(ours)
    assert not fitted.report.resized and not fitted.report.dropped and fitted.report.complete
    back, _, left_out = translate(weights, "timm")
    assert shapes(back) == shapes(state) and not left_out


def test_torchvisions_mvit_v2_s_is_ours_name_by_name():
    row = VARIANTS["S"]
    with torch.device("meta"):
        state = mvit_v2_s().state_dict()
        widths = dict(embed_dim=96, num_heads=1, last_block_indexes=row.last_block_indexes)
        ours = clip_classifier(400, input_size=(16, 224, 224), **widths).state_dict()
    weights = from_content(state, "mvit_v2_s")
    assert (weights.format, weights.left_out) == ("torchvision", {})
    assert str(weights.layout) == "MViTv2-S for clips, 1-2-11-2 blocks, 96 channels"
    assert weights.layout.class_token and weights.tensors["cls_token"].shape == (1, 1, 96)
    fitted = fit(weights, ours)
    assert shapes(fitted.state) == shapes(ours) and fitted.report.complete
    assert not fitted.report.resized and not fitted.report.dropped
    back, _, _ = translate(weights, "torchvision")
    assert shapes(back) == shapes(state)


def test_torchvisions_mvit_v1_b_is_translated_completely():
    with torch.device("meta"):
        state = mvit_v1_b().state_dict()
    weights = from_content(state, "mvit_v1_b")
    assert weights.format == "torchvision" and weights.left_out == {}
    layout = weights.layout
    assert (layout.expand_in, layout.depths, layout.variant) == ("mlp", (1, 2, 11, 2), None)
    assert weights.tensors["pos_embed_spatial"].shape == (1, 3136, 96)
    assert weights.tensors["pos_embed_temporal"].shape == (1, 8, 96)
    assert weights.tensors["pos_embed_class"].shape == (1, 1, 96)
    back, _, _ = translate(weights, "torchvision")
    assert shapes(back) == shapes(state)
    theirs, _, _ = translate(weights, "pyslowfast")
    assert from_content({"model_state": theirs}, "k400.pyth").tensors.keys() == theirs.keys()


def recognised(state, wrapper="model"):
    return from_content({wrapper: state}, "x").format


def test_the_format_is_recognised_from_the_content():
    images, clips = mvit_names(classifier()), mvit_names(clip_classifier())
    assert recognised(images) == "mvit"
    assert recognised(clips) == "pyslowfast"
    assert recognised(classifier().state_dict()) == "mvit_det"
    assert recognised(detector_state(backbone_of_detector())) == "detectron2"
    prefixed = {f"backbone.{n}": v for n, v in backbone_of_detector().state_dict().items()}
    assert recognised(prefixed) == "detectron2"  # a detector without a pyramid
    assert recognised({"layers.0.weight": torch.ones(1)}) is None
    # saved by DistributedDataParallel
    assert recognised({f"module.{n}": v for n, v in images.items()}) == "mvit"


def test_image_files_with_3d_pooling_are_pyslowfasts():
    state = mvit_names(classifier())
    deep = {n: v.unsqueeze(2) if ".pool_" in n else v for n, v in state.items()}
    weights = from_content({"model_state": deep}, "x.pyth")
    assert weights.format == "pyslowfast" and weights.layout.axes == 2
    assert shapes(weights.tensors) == shapes(state)
    back, _, _ = translate(weights, "pyslowfast")
    assert shapes(back) == shapes(deep)


def test_every_name_is_translated_or_left_out_with_a_reason():
    state = mvit_names(clip_classifier())
    extra = {
        "mask_token": "part of masked pre-training",
        "pred_head.transforms.0.weight": "part of masked pre-training",
        "blocks.0.gamma_1": "layer scale, without which its network computes something else",
        "blocks.0.attn.q.weight": "separate q, k and v projections, which are not supported",
        "something.else": "not a name of PySlowFast's MViT",
    }
    state |= {name: torch.ones(1) for name in extra}
    state |= {"steps": 7, "sparse": torch.eye(2).to_sparse(), "labels": np.array(["cat"])}
    weights = from_content({"model_state": state, "epoch": 3, "cfg": "A: 1"}, "x.pyth")
    assert weights.left_out == extra | {
        "steps": "not a dense tensor of numbers, but int",
        "sparse": "not a dense tensor of numbers, but Tensor",
        "labels": "not a dense tensor of numbers, but ndarray",
    }
    assert {*weights.sources.values(), *weights.left_out} == set(state)
    assert weights.companions == {"epoch": 3, "cfg": "A: 1"}


def test_a_second_tensor_of_the_same_name_is_reported():
    with torch.device("meta"):
        state = dict(timm.create_model("mvitv2_tiny").state_dict())
    state["stages.1.blocks.0.shortcut_proj_mlp.bias"] = torch.ones(192)
    left_out = from_content(state, "x").left_out
    assert left_out == {
        "stages.1.blocks.0.shortcut_proj_mlp.bias": "a second blocks.1.proj.bias, which is already "
        "stages.1.blocks.0.shortcut_proj_attn.bias"
    }
