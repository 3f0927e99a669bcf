"""Files for other code bases: round trips bit for bit, refusals, the command line."""

import pickle
import runpy
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from timm.models import load_checkpoint
from timm.models.mvitv2 import MultiScaleVit, model_cfgs
from torch import nn
from torchvision.models.video import mvit_v1_b, mvit_v2_s
from weight_files import (
    backbone_of_detector,
    classifier,
    clip_classifier,
    detector_state,
    mvit_names,
)

import mvit_det
from mvit_det.checkpoint import read_weights
from mvit_det.checkpoint.__main__ import argument_parser, main
from mvit_det.checkpoint.converting import translate, write_weights
from mvit_det.checkpoint.formats import FORMATS
from mvit_det.checkpoint.weights import from_content
from mvit_det.errors import UserError

NETWORKS = {
    "images": lambda: mvit_names(classifier()),
    "images, class token": lambda: mvit_names(classifier(class_token=True)),
    "images, MLP": lambda: mvit_names(classifier(expand_in="mlp")),
    "images, absolute position": lambda: mvit_names(classifier(use_abs_pos=True)),
    "clips, class token": lambda: mvit_names(clip_classifier()),
    "clips": lambda: mvit_names(clip_classifier(class_token=False)),
    "clips, MLP": lambda: mvit_names(clip_classifier(expand_in="mlp")),
    "clips, no head": lambda: {
        name: value
        for name, value in mvit_names(clip_classifier()).items()
        if not name.startswith(("norm.", "head."))
    },
    "detector": lambda: detector_state(backbone_of_detector()),
    "detector, MLP": lambda: detector_state(backbone_of_detector(expand_in="mlp")),
}
IMAGES = {"mvit", "pyslowfast", "mvit_det", "timm"}
CLIPS = {"pyslowfast", "mvit_det", "mmaction2"}
# which formats can translate which network
POSSIBLE = {
    "images": IMAGES | {"detectron2"},
    "images, class token": IMAGES | {"detectron2"},
    "images, MLP": IMAGES,
    "images, absolute position": IMAGES | {"detectron2"},
    "clips, class token": CLIPS | {"torchvision"},
    "clips": CLIPS,
    "clips, MLP": CLIPS | {"torchvision"},
    "clips, no head": CLIPS | {"torchvision"},
    "detector": {"mvit_det", "detectron2"},
    "detector, MLP": {"mvit_det"},
}
FIRST = [(network, first) for network, formats in POSSIBLE.items() for first in sorted(formats)]

NOT_IN_DETECTORS = {"cls_token", "norm.weight", "norm.bias"}
NOT_IN_DETECTORS |= {"head.projection.weight", "head.projection.bias"}


@cache
def state_of(network):
    return NETWORKS[network]()


def weights_of(network):
    return from_content({"model_state": state_of(network)}, "x.pyth")


def convert(weights, target, path):
    """Write weights in a format and read them again."""
    tensors, _, left_out = translate(weights, target)
    write_weights(tensors, target, path)
    return read_weights(path), left_out


@pytest.mark.parametrize("network, first", FIRST)
def test_round_trips_are_equal_bit_for_bit(tmp_path, network, first):
    weights = weights_of(network)
    one, lost = convert(weights, first, tmp_path / f"one{FORMATS[first].suffixes[0]}")
    assert {weights.sources[name] for name in weights.tensors.keys() - one.tensors.keys()} == {
        *lost
    }
    for second in POSSIBLE[network]:
        # every format is written to a file as the first of a pair
        tensors, _, lost = translate(one, second)
        two = from_content({"model": tensors}, second)
        # a detector's backbone has neither class token nor final norm nor head for classes
        gone = (
            (NOT_IN_DETECTORS & weights.tensors.keys()) if "detectron2" in (first, second) else ()
        )
        assert two.tensors.keys() == weights.tensors.keys() - gone
        assert len(lost) == (len(gone) if first != "detectron2" else 0)
        for name, tensor in two.tensors.items():
            assert tensor.dtype == weights.tensors[name].dtype
            assert tensor.equal(weights.tensors[name]), name
        assert not one.left_out and not two.left_out
        back, _, _ = translate(two, first)
        assert back.keys() == {one.sources[name] for name in two.tensors}


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_that_a_format_lacks_are_refused(network):
    weights = weights_of(network)
    for target in FORMATS.keys() - POSSIBLE[network]:
        with pytest.raises(UserError, match="x.pyth cannot be written for .*choose another --to"):
            translate(weights, target)


JOINT = dict(rel_pos_tables=("hw",), rel_pos_on="qk")  # of the paper's ablations


@pytest.mark.parametrize(
    "state, possible",
    [
        (lambda: classifier(**JOINT).state_dict(), {"mvit_det"}),
        (lambda: detector_state(backbone_of_detector(**JOINT)), {"mvit_det"}),
        (
            lambda: clip_classifier(use_abs_pos=True).state_dict(),
            {"mvit_det", "pyslowfast", "torchvision"},
        ),
    ],
)
def test_positions_that_only_some_formats_have(tmp_path, state, possible):
    weights = from_content({"model": state()}, "x.pth")
    assert not weights.left_out
    for target in FORMATS:
        if target in possible:
            again, _ = convert(weights, target, tmp_path / f"{target}.pth")
            assert again.tensors.keys() == weights.tensors.keys()
        else:
            with pytest.raises(UserError, match="x.pth cannot be written for"):
                translate(weights, target)


@pytest.mark.parametrize(
    "network, target, sentence",
    [
        ("images, MLP", "detectron2", "widens its channels in the MLP"),
        ("detector", "timm", "is a detector, and its models are classifiers"),
        ("clips", "timm", "is for clips, and its models take images only"),
        ("images", "mmaction2", "is for images, and its models take clips only"),
        ("clips", "torchvision", "has no class token, and its models always have one"),
    ],
)
def test_a_refusal_has_a_reason(network, target, sentence):
    with pytest.raises(UserError, match=sentence):
        translate(weights_of(network), target)


def test_norms_of_feature_maps_are_refused_by_classifiers():
    state = {f"backbone.bottom_up.{n}": v for n, v in backbone_of_detector().state_dict().items()}
    with pytest.raises(UserError, match="whose models lack scale2_norm.weight"):
        translate(from_content(state, "x"), "timm")


def test_only_an_mvit_is_converted():
    with pytest.raises(UserError, match="is not an MViT of a known format"):
        translate(from_content({"fc.weight": torch.ones(1)}, "x"), "timm")


def test_timm_loads_a_converted_file_strictly(tmp_path):
    torch.manual_seed(0)
    cfg = replace(model_cfgs["mvitv2_tiny"], embed_dim=(16, 32, 64, 128), depths=(1, 2, 2, 1))
    model = MultiScaleVit(cfg, num_classes=7, img_size=(64, 64))
    ours = classifier(7)
    torch.save({"model": ours.state_dict()}, tmp_path / "ours.pth")
    for suffix in (".safetensors", ".pth"):
        out = tmp_path / f"theirs{suffix}"
        main(argument_parser().parse_args([f"{tmp_path}/ours.pth", "--to=timm", f"--output={out}"]))
        load_checkpoint(model, str(out), strict=True)
        x = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(x), ours.logits(x), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(mvit_det.host() != "real", reason="is about the real Detectron2")
def test_detectron2_loads_a_converted_file(tmp_path):
    source = classifier(class_token=True)
    tensors, _, _ = translate(from_content(mvit_names(source), "x"), "detectron2")
    write_weights(tensors, "detectron2", tmp_path / "a.pkl")
    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.bottom_up = backbone_of_detector()
    DetectionCheckpointer(model).load(f"{tmp_path}/a.pkl")
    state = source.backbone.state_dict()
    loaded = model.backbone.bottom_up.state_dict()
    assert {name for name in loaded if name not in state} == {
        f"scale{k}_norm.{p}" for k in (2, 3, 4, 5) for p in ("weight", "bias")
    }
    assert all(loaded[name].equal(state[name]) for name in loaded if name in state)


def test_each_format_has_its_wrapper(tmp_path):
    images = from_content(mvit_names(classifier()), "x")
    clips = from_content(mvit_names(clip_classifier()), "x")
    keys = {}
    for target, form in FORMATS.items():
        path = tmp_path / f"{target}{form.suffixes[0]}"
        weights = clips if target in ("torchvision", "mmaction2") else images
        tensors, _, _ = translate(weights, target)
        write_weights(tensors, target, path)
        if path.suffix != ".pkl":
            content = torch.load(path, weights_only=True)
            keys[target] = [key for key in content if not isinstance(content[key], torch.Tensor)]
    assert keys == {
        "mvit": ["model_state"],
        "pyslowfast": ["model_state"],
        "mvit_det": ["model"],
        "timm": [],
        "torchvision": [],
        "mmaction2": ["state_dict", "meta"],
    }
    with open(tmp_path / "detectron2.pkl", "rb") as file:
        content = pickle.load(file)
    assert content.keys() == {"model", "__author__"}
    assert all(isinstance(value, np.ndarray) for value in content["model"].values())


def test_a_slice_is_written_without_the_rest_of_its_memory(tmp_path):
    state = mvit_names(classifier())
    state["head.projection.weight"] = torch.randn(1000, 5, 128)[0]
    tensors, _, _ = translate(from_content(state, "x"), "mvit")
    write_weights(tensors, "mvit", tmp_path / "a.pyth")
    assert (tmp_path / "a.pyth").stat().st_size < 1.2 * sum(t.nbytes for t in tensors.values())


def test_a_full_disk_ends_in_one_sentence(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(UserError, match="cannot be written .*No space left.*: free space, or"):
        write_weights({}, "mvit", tmp_path / "a.pyth")
    assert not list(tmp_path.iterdir())


def test_half_precision_stays(tmp_path):
    state = {name: value.bfloat16() for name, value in mvit_names(classifier()).items()}
    weights, _ = convert(from_content(state, "x"), "timm", tmp_path / "a.safetensors")
    assert weights.tensors["norm.bias"].dtype == torch.bfloat16
    tensors, _, _ = translate(weights, "detectron2")
    with pytest.raises(UserError, match="bfloat16, which a .pkl cannot hold: write a .pth"):
        write_weights(tensors, "detectron2", tmp_path / "a.pkl")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.safetensors"]


def run(*arguments):
    return main(argument_parser().parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def file(tmp_path):
    state = {"model_state": mvit_names(classifier(class_token=True)), "epoch": 7, "cfg": "A: 1"}
    state["model_state"]["mask_token"] = torch.ones(1)
    torch.save(state, tmp_path / "in.pyth")
    return tmp_path / "in.pyth"


def test_the_command_describes_a_file(file, capsys):
    run(file)
    out = capsys.readouterr().out
    for line in (
        "format:           mvit (facebookresearch/mvit)",
        "network:          MViT for images, 1-2-2-1 blocks, 16 channels",
        "grid of tokens:   16 x 16",
        "channels grow in: attention",
        "class token:      yes",
        "head:             5 classes",
        "other entries:    epoch, cfg",
        "  mask_token: part of masked pre-training",
    ):
        assert line in out, line


def test_the_command_names_absent_tensors_and_those_that_are_not_finite(file, tmp_path, capsys):
    content = torch.load(file, weights_only=True)
    del content["model_state"]["blocks.2.attn.rel_pos_w"], content["model_state"]["norm.bias"]
    content["model_state"]["blocks.1.mlp.fc1.bias"][3] = float("nan")
    torch.save(content, file)
    run(file, "--to", "timm", "--output", tmp_path / "out.pth")
    out = capsys.readouterr().out
    assert "incomplete, without 1:\n  blocks.2.attn.rel_pos_w: absent" in out
    assert "not finite, 1:\n  blocks.1.mlp.fc1.bias: not finite" in out
    assert "Missing from the file, so not written: norm.bias." in out


@pytest.mark.parametrize("build", [mvit_v2_s, mvit_v1_b])
def test_complete_networks_are_not_called_incomplete(build, tmp_path, capsys):
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in build().state_dict().items()}
    # one number in memory for each tensor
    torch.save({name: torch.zeros(1).expand(s) for name, s in shapes.items()}, tmp_path / "a.pth")
    run(tmp_path / "a.pth")
    out = capsys.readouterr().out
    assert "incomplete" not in out and "not finite" not in out


def test_the_command_converts_and_reports(file, tmp_path, capsys):
    run(file, "--to", "detectron2", "--output", tmp_path / "out.pkl")
    out = capsys.readouterr().out
    assert f"tensors for Detectron2 to {tmp_path}/out.pkl." in out
    assert "  cls_token: its backbone has no class token" in out
    assert "  head.projection.{weight,bias}: its models are detectors" in out
    assert "  cls_token -> " not in out
    assert "  patch_embed.proj.weight -> backbone.bottom_up.patch_embed.proj.weight" in out
    assert read_weights(tmp_path / "out.pkl").format == "detectron2"


def test_the_command_overwrites_on_request_only(file, tmp_path):
    before = file.read_bytes()
    with pytest.raises(UserError, match="in.pyth exists: add --overwrite to replace it"):
        run(file, "--to", "mvit", "--output", file)
    assert file.read_bytes() == before
    run(file, "--to", "mvit", "--output", file, "--overwrite")  # replaces its input
    assert read_weights(file).companions == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pyth"]


@pytest.mark.parametrize(
    "target, output, sentence",
    [
        ("timm", "out.pkl", "files of timm end in .pth or .safetensors"),
        ("mvit", "out.pkl", "files of facebookresearch/mvit end in .pyth or .pth"),
        ("timm", "no/out.pth", "its folder does not exist"),
        ("timm", None, "--to and --output belong together"),
    ],
)
def test_the_command_refuses_in_one_sentence(file, tmp_path, target, output, sentence):
    arguments = [file, "--to", target]
    arguments += ["--output", tmp_path / output] if output else []
    with pytest.raises(UserError, match=sentence):
        run(*arguments)


def test_the_command_line_prints_an_error_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["checkpoint", str(tmp_path)])
    monkeypatch.delitem(sys.modules, "mvit_det.checkpoint.__main__")
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("mvit_det.checkpoint", run_name="__main__")
    assert stopped.value.code == f"error: {tmp_path} is a folder: give the weight file in it."
