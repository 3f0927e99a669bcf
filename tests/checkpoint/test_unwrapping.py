"""Weights within what other programs wrap around them: prefixes, nesting, moving averages."""

import logging

import numpy as np
import pytest
import torch
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from torch import nn
from weight_files import backbone_of_detector, classifier, clip_classifier, detector_state

from mvit_det.checkpoint import fit, read_weights
from mvit_det.checkpoint.__main__ import describe_weights
from mvit_det.checkpoint.converting import translate
from mvit_det.checkpoint.formats import FORMATS
from mvit_det.checkpoint.weights import from_content
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.errors import UserError

# What programs put before the names of a network; `x` for anything that a user may have chosen.
PREFIXES = {
    "nothing": "",
    "DistributedDataParallel": "module.",
    "torch.compile": "_orig_mod.",
    "Lightning": "model.",
    "Lightning, another name": "net.",
    "transformers": "timm_model.",
    "a user's own": "encoder.x.",
    "Lightning, compiled, parallel": "model._orig_mod.module.",
    "parallel, compiled, a user's own": "module._orig_mod.net.timm_model.",
    "FSDP": "_fsdp_wrapped_module.model.",
}


def add_one(state):
    return {name: value + 1 for name, value in state.items()}


def in_format(form: str) -> dict[str, torch.Tensor]:
    """A small network as a code base names it."""
    clips = FORMATS[form].axes == (3,)
    if form == "detectron2":
        state = detector_state(backbone_of_detector())
    else:
        state = (clip_classifier() if clips else classifier()).state_dict()
    return translate(from_content(state, "x.pth"), form)[0]


def read(content, average: bool = True):
    return from_content(content, "x.pth", average)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_a_prefix_changes_nothing(form, prefix):
    state = in_format(form)
    alone, found = read(state), read({prefix + name: value for name, value in state.items()})
    assert found.format == alone.format and found.layout == alone.layout
    assert found.sources == alone.sources and not found.left_out
    assert all(found.tensors[name].equal(value) for name, value in alone.tensors.items())


@pytest.mark.parametrize("form", ["mvit", "timm", "mvit_det"])
def test_other_tensors_of_a_lightning_module_do_not_hide_the_network(form):
    state = in_format(form)
    content = {f"model.{name}": value for name, value in state.items()}
    content |= {"criterion.weight": torch.ones(5), "train_top1.tp": torch.zeros(5)}
    found = read({"state_dict": content, "pytorch-lightning_version": "2.5", "callbacks": {}})
    weights, model = read(state), classifier().state_dict()
    assert fit(found, model).report.complete
    assert found.tensors.keys() - {"criterion.weight", "train_top1.tp"} == weights.tensors.keys()


def test_a_network_that_users_call_their_backbone_keeps_its_head():
    for form in ("mvit", "timm"):
        content = {f"backbone.{name}": value for name, value in in_format(form).items()}
        assert fit(read(content), classifier().state_dict()).report.complete


def test_a_part_that_was_compiled_alone_is_found():
    state = classifier().state_dict()
    inserted = {
        name.replace("backbone.", "backbone._orig_mod.").replace(
            "blocks.3.", "blocks.3._checkpoint_wrapped_module."
        ): value
        for name, value in state.items()
    }
    assert inserted.keys() != state.keys() and fit(read(inserted), state).report.complete
    # the model may have been compiled as well, or alone
    assert fit(read(inserted), inserted).report.complete
    assert fit(read(state), inserted).report.used == list(inserted)
    # also of a network that is no MViT
    assert read({"a._orig_mod.b": torch.ones(1)}).tensors.keys() == {"a.b"}


@pytest.mark.parametrize(
    "nest",
    [
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"state_dict": {"model": {"module": state}}, "epoch": 3},
        lambda state: {"module": state, "dp_world_size": 1},
    ],
)
def test_nested_containers(nest):
    state = in_format("mvit")
    assert read(nest(state)).tensors.keys() == read(state).tensors.keys()


def averaged(state, prefix=""):
    """The state of torch's AveragedModel: names with a prefix, and a count."""
    return {"n_averaged": torch.tensor(7)} | {f"{prefix}{n}": v + 1 for n, v in state.items()}


# Of programs that keep both: the content of their files, and where it says that the average is.
AVERAGES = {
    "timm": (lambda s: {"state_dict": s, "state_dict_ema": add_one(s)}, "state_dict_ema"),
    "DeiT": (lambda s: {"model": s, "model_ema": add_one(s)}, "model_ema"),
    "torchvision": (lambda s: {"model": s, "model_ema": averaged(s, "module.")}, "model_ema"),
    "pycls": (lambda s: {"model_state": s, "ema_state": add_one(s)}, "ema_state"),
    "RT-DETR": (lambda s: {"model": s, "ema": {"module": add_one(s), "updates": 3}}, "ema"),
    "this project": (
        lambda s: {
            "model": s,
            "trainer": {"hooks": {"AveragedWeights": averaged(s, "module.")}},
        },
        "trainer.hooks.AveragedWeights",
    ),
    "in the same dict": (
        lambda s: {
            "state_dict": {f"model.{n}": v for n, v in s.items()}
            | {f"model_ema.{n}": v for n, v in averaged(s, "module.").items()}
        },
        "model_ema",
    ),
    "compiled": (
        lambda s: {
            "state_dict": {f"_orig_mod.{n}": v for n, v in s.items()},
            "state_dict_ema": {f"module._orig_mod.{n}": v + 1 for n, v in s.items()},
        },
        "state_dict_ema",
    ),
}


@pytest.mark.parametrize("form", ["mvit", "mvit_det"])
@pytest.mark.parametrize("content, place", AVERAGES.values(), ids=AVERAGES)
def test_the_average_beside_the_weights_is_taken_unless_declined(content, place, form):
    state = in_format(form)
    plain = read(state).tensors
    taken, declined = read(content(state)), read(content(state), average=False)
    assert taken.tensors.keys() == plain.keys()
    assert all(taken.tensors[name].equal(value + 1) for name, value in plain.items())
    assert all(declined.tensors[name].equal(value) for name, value in plain.items())
    assert taken.average == f"the moving average (EMA) in {place}"
    assert declined.average == f"the weights, not their moving average (EMA) in {place}"
    assert f"taken:            {taken.average}" in describe_weights(taken)


# Programs that save the average in the place of the weights, and the weights elsewhere.
SWAPPED = {
    "Lightning": (
        {"averaging_state": {"n_averaged": torch.tensor(3)}},
        "current_model_state",
        "model.",
    ),
    "MMEngine": ({"message_hub": {}, "meta": {}}, "ema_state_dict", "module."),
}


@pytest.mark.parametrize("more, key, prefix", SWAPPED.values(), ids=SWAPPED)
def test_an_average_that_was_saved_as_the_weights_is_not_exchanged_for_them(more, key, prefix):
    average = in_format("mvit")
    weights = {f"{prefix}{name}": value + 1 for name, value in average.items()}
    content = {"state_dict": average, key: weights, **more}
    taken, declined = read(content), read(content, average=False)
    assert all(value.equal(taken.tensors[name]) for name, value in read(average).tensors.items())
    assert all(value.equal(declined.tensors[name]) for name, value in read(weights).tensors.items())
    assert key in taken.average and key in declined.average


def test_an_average_alone_is_taken_and_a_partial_one_is_not():
    state = in_format("mvit")
    alone = read({"ema": {"module": state}, "epoch": 3})
    assert alone.tensors.keys() == read(state).tensors.keys() and "without weights" in alone.average
    partial = add_one(state)
    del partial["head.projection.bias"]
    found = read({"model": state, "model_ema": partial})
    assert all(found.tensors[name].equal(v) for name, v in read(state).tensors.items())
    assert found.average.endswith("(EMA) in model_ema lacks head.projection.bias")
    assert not read({"model": state, "ema": {"decay": 0.9, "shadow": [1, 2]}}).average


def test_two_networks_are_refused_by_their_names():
    state = in_format("mvit")
    both = {f"{which}.{n}": v for which in ("student", "teacher") for n, v in state.items()}
    with pytest.raises(UserError, match=r"holds 2 networks, student\., teacher\.: save .* alone"):
        read(both)
    # but a part of a model may be a network, and have any names
    model = classifier().state_dict()
    model |= {f"flow.{n}": v for n, v in state.items()} | {"flow.module.w": torch.ones(1)}
    assert fit(read({"model": model}), model).report.used == list(model)


def test_what_loads_weights_says_which_and_may_decline(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    model = nn.Linear(2, 2)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save({"model": state, "model_ema": add_one(state)}, tmp_path / "a.pth")
    StrictCheckpointer(model, complete=True).load(str(tmp_path / "a.pth"))
    assert model.weight.equal(state["weight"] + 1)
    message = "taking the moving average (EMA) in model_ema (train.init_ema=true)"
    assert message in caplog.text
    StrictCheckpointer(model, ema=False).load(str(tmp_path / "a.pth"))
    assert model.weight.equal(state["weight"])
    assert "(EMA) in model_ema (train.init_ema=false)" in caplog.text
    with pytest.raises(UserError, match="init_ema='no' of train must be one of True, False"):
        StrictCheckpointer(model, ema="no")
    # a run goes on with its weights
    StrictCheckpointer(model).resume(str(tmp_path / "a.pth"))
    assert model.weight.equal(state["weight"])


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int8, torch.bool])
def test_complex_and_integer_tensors_are_refused_by_name(dtype):
    state = dict(classifier().state_dict())
    name = "backbone.blocks.1.mlp.fc1.weight"
    state[name] = state[name].to(dtype)
    kind = str(dtype).removeprefix("torch.")
    sentence = f"x.pth holds {kind} numbers in {name}, and weights are floating-point"
    with pytest.raises(UserError, match=sentence):
        fit(read(state), classifier().state_dict())
    with pytest.raises(UserError, match=sentence):
        translate(read(state), "mvit")
    # what the model does not use may be of any kind
    state[name] = state[name].real.float()
    state["backbone.more"] = torch.ones(2, dtype=dtype)
    assert fit(read(state), classifier().state_dict()).report.complete


def test_a_repeated_number_is_not_a_dense_tensor(tmp_path):
    torch.save({"a": torch.ones(1).expand(10**6, 10**6), "b": torch.ones(2)}, tmp_path / "a.pth")
    weights = read_weights(tmp_path / "a.pth")
    assert "not a dense tensor" in weights.left_out["a"] and list(weights.tensors) == ["b"]
    describe_weights(weights)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_without_numbers_of_their_own_end_in_one_sentence(tmp_path):
    torch.save({"a": torch.empty(2, device="meta"), "b": torch.ones(2)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="a.pth has only the shapes of a, saved on torch's meta"):
        read_weights(tmp_path / "a.pth")
    jagged = torch.nested.nested_tensor([torch.ones(1)], layout=torch.jagged)
    rows = torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])
    found = read({"a": rows, "b": torch.ones(2), "c": jagged, "d": torch.ones(2).to_sparse()})
    assert list(found.tensors) == ["b"] and found.left_out.keys() == {"a", "c", "d"}


def test_block_numbers_beyond_any_network_are_not_counted_up_to():
    state = in_format("mvit") | {"blocks.99999999999.norm1.weight": torch.ones(1)}
    lines = describe_weights(read(state))
    assert "1-2-2-1 blocks" in lines[2] and "blocks.99999999999" in lines[-1]


@pytest.mark.parametrize("detector", [False, True])
def test_a_checkpoint_that_differs_in_its_classes_alone_says_just_that(tmp_path, detector):
    if detector:
        state = detector_state(backbone_of_detector())
        state["roi_heads.box_predictor.cls_score.bias"] = torch.zeros(81)
        state["roi_heads.box_predictor.bbox_pred.weight"] = torch.zeros(320, 8)
        small = {
            name: value[: len(value) // 8 + (name.endswith("cls_score.bias"))]
            for name, value in state.items()
            if name.startswith(("roi_heads.box_predictor.", "roi_heads.mask_head."))
        }
        small["roi_heads.box_predictor.cls_score.weight"] = torch.zeros(11, 8)
        small["roi_heads.box_predictor.cls_score.bias"] = torch.zeros(11)
        numbers = "80 classes and the model 10"
    else:
        state, numbers = classifier(5).state_dict(), "5 classes and the model 7"
        small = {n: v for n, v in classifier(7).state_dict().items() if n.startswith("head.")}
    report = fit(read(state), state | small).report
    assert report.other_classes == tuple(numbers.replace(" classes and the model", "").split())
    with pytest.raises(UserError, match=f"x.pth has {numbers}, and all else fits: use the config"):
        checkpointer = StrictCheckpointer(nn.Linear(1, 1), complete=True)
        checkpointer._source = "x.pth"
        checkpointer._check_fit(report)
    # anything else that differs is another architecture
    more = {"backbone.blocks.9.norm1.weight": torch.ones(1)}
    assert fit(read(state), state | small | more).report.other_classes is None


def test_arrays_of_numpy_are_tensors_too(tmp_path):
    state = {name: value.numpy() for name, value in in_format("detectron2").items()}
    both = {"model": state, "ema_state": {name: np.ones_like(v) for name, v in state.items()}}
    assert all((value == 1).all() for value in read(both).tensors.values())


def test_timms_own_model_within_transformers_and_lightning_computes_the_same():
    cfg = MultiScaleVitCfg(depths=(1, 2, 2, 1), embed_dim=16, num_heads=1)
    theirs = MultiScaleVit(cfg, img_size=64, num_classes=5).eval()
    state = {f"model.timm_model.{name}": v for name, v in theirs.state_dict().items()}
    ours, images = classifier(), torch.randn(2, 3, 64, 64)
    ours.load_state_dict(fit(read({"state_dict": state}), ours.state_dict()).state)
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(images), theirs(images), rtol=1e-5, atol=1e-5)
