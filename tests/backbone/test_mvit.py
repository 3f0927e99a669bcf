"""The whole backbone: golden numbers, frozen names, sizes, checkpointing."""

import json

import pytest
import torch
from golden.make_backbone import (
    FEATURES,
    IMAGE_SIZE,
    KEYS,
    SMALL_DEPTHS,
    SMALL_SIZE,
    SMALL_WIDTH,
    describe,
    fill_parameters,
    layer_norm,
    seeded,
)
from networks import SCALES, SMALL, clip_plan, hwin_plan, network, small_plan
from torch import nn
from torch._subclasses import FakeTensorMode

from mvit_det.backbone import VARIANTS, Variant

# Any input size: whole, ragged, smaller than a patch, wide, tall.
SIZES = [(64, 64), (33, 70), (1, 1), (5, 3), (32, 203), (97, 8)]
every_size = pytest.mark.parametrize("size", SIZES)
both_forms = pytest.mark.parametrize("fused", [True, False])


def small_network(**options):
    plan_options = {
        key: options.pop(key) for key in ("expand_in", "drop_path_rate", "window") if key in options
    }
    torch.manual_seed(0)
    return fill_parameters(network(small_plan(**plan_options), **options))


def image(size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(3))


def loss_of(features):
    """Sum all values of all maps, each with a random weight."""
    generator = torch.Generator().manual_seed(4)
    return sum(
        (feature * torch.randn(feature.shape, generator=generator)).sum()
        for feature in features.values()
    )


# ------------------------------------------------------------------------------- golden numbers


def assert_as_golden(features, expected):
    assert {name: list(feature.shape) for name, feature in features.items()} == {
        name: numbers["shape"] for name, numbers in expected.items()
    }
    for name, numbers in expected.items():
        summary = describe(features[name])
        assert summary["values"] == pytest.approx(numbers["values"], abs=3e-5), name
        assert summary["mean_abs"] == pytest.approx(numbers["mean_abs"], abs=2e-6), name
        assert summary["rms"] == pytest.approx(numbers["rms"], abs=2e-6), name


@torch.no_grad()
def test_features_of_t_are_those_of_detectron2():
    expected = json.loads(FEATURES.read_text())["T"]
    model = fill_parameters(network(hwin_plan(VARIANTS["T"]), norm_layer=layer_norm))
    x = seeded("image", (1, 3, *IMAGE_SIZE))
    assert_as_golden(model(x), expected)
    for block in model.blocks:
        block.attn.fused = False
    assert_as_golden(model(x), expected)


@both_forms
@torch.no_grad()
def test_features_of_expansion_in_the_mlp_are_those_of_timm(fused):
    expected = json.loads(FEATURES.read_text())["expand_in_mlp"]
    plan = hwin_plan(
        Variant(SMALL_WIDTH, SMALL_DEPTHS, 1),
        grid=(SMALL_SIZE // 4,) * 2,
        window=None,
        coarse_kv=(),
        expand_in="mlp",
    )
    model = fill_parameters(
        network(plan, norm_layer=layer_norm, out_features=("scale5",), fused_attention=fused)
    )
    assert_as_golden(model(seeded("image", (1, 3, SMALL_SIZE, SMALL_SIZE))), expected)


# ------------------------------------------------------------------------- parameters and names


def on_meta(plan, **options):
    with torch.device("meta"):
        return network(plan, **options)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    "name, expand_in, entry",
    [
        ("T", "attention", "T"),
        ("S", "attention", "S"),
        ("B", "attention", "B"),
        ("L", "mlp", "L, expansion in the MLP"),
    ],
)
def test_names_and_shapes_are_the_published_ones(name, expand_in, entry):
    golden = json.loads(KEYS.read_text())[entry]
    expected = dict(golden["outside"])
    for group in golden["groups"]:
        for index in group["blocks"]:
            for rest, shape in group["shapes"].items():
                expected[f"blocks.{index}.{rest}"] = shape
    state = on_meta(hwin_plan(VARIANTS[name], expand_in=expand_in)).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == expected


# Parameters of the published ImageNet classifiers in millions, counted on the released code, whose
# 1000-way head and single norm replace the four norms here. H was counted with its class token.
@pytest.mark.parametrize(
    "name, expand_in, backbone, classifier",
    [
        ("T", "attention", 23_405_664, 24.173),
        ("S", "attention", 34_102_560, 34.870),
        ("B", "attention", 50_705_088, 51.473),
        ("L", "attention", 212_484_384, 213.635),
        ("L", "mlp", 216_843_984, 217.993),
        ("H", "attention", 665_345_408, 666.880),
    ],
)
def test_parameter_counts(name, expand_in, backbone, classifier):
    plan = hwin_plan(VARIANTS[name], expand_in=expand_in)
    assert count(on_meta(plan)) == backbone
    norms = sum(2 * spec.dim_out for spec in plan if spec.ends_stage and spec.stage < 3)
    head = 1000 * plan[-1].dim_out + 1000
    token = plan[0].dim_in if name == "H" else 0
    assert (backbone - norms + head + token) / 1e6 == pytest.approx(classifier, abs=5e-4)


def test_linear_layers_start_as_in_the_released_code():
    model = network(small_plan())
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.25)
            assert not module.bias.any()
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all() and not module.bias.any()


# --------------------------------------------------------------------------------- sizes and form


def ceil_halves(size):
    """Yield the grid of every stage: the patches, then halved three times, rounded up."""
    grid = tuple(-(-n // 4) for n in size)
    for scale in SCALES:
        yield scale, grid
        grid = tuple(-(-n // 2) for n in grid)


@every_size
@pytest.mark.parametrize("expand_in", ["attention", "mlp"])
@torch.no_grad()
def test_any_size_runs_and_both_forms_agree(size, expand_in):
    model = small_network(expand_in=expand_in)
    features = model(image(size))
    widths = (16, 32, 64, 128) if expand_in == "attention" else (32, 64, 128, 128)
    assert {name: tuple(feature.shape) for name, feature in features.items()} == {
        name: (2, width, *grid) for (name, grid), width in zip(ceil_halves(size), widths)
    }
    for block in model.blocks:
        block.attn.fused = False
    for name, feature in model(image(size)).items():
        torch.testing.assert_close(features[name], feature, rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_features_are_channels_last_in_memory():
    for feature in small_network()(image((33, 70))).values():
        assert feature.is_contiguous(memory_format=torch.channels_last)


@both_forms
@pytest.mark.parametrize("size", [(64, 64), (33, 70)])
@torch.no_grad()
def test_samples_of_a_batch_do_not_affect_each_other(size, fused):
    model = small_network(fused_attention=fused)
    x = image(size, batch=3)
    together = model(x)
    x[0], x[2] = 100.0, -7 * x[1]
    in_other_batch = model(x)
    alone = model(x[1:2])
    for name, feature in together.items():
        torch.testing.assert_close(in_other_batch[name][1], feature[1], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone[name][0], feature[1], rtol=1e-5, atol=1e-5)
        assert not torch.allclose(in_other_batch[name][0], feature[0], atol=0.1)


@pytest.mark.parametrize("window, reach", [((8, 8), False), (None, True)])
@torch.no_grad()
def test_windows_confine_attention(window, reach):
    plan = hwin_plan(Variant(16, (1, 1, 1, 1), 1), grid=(16, 16), window=window)
    model = fill_parameters(network(plan, out_features=("scale2",)))
    x = image((64, 64), batch=1)
    before = model(x)["scale2"]
    x[..., :12, :12] += 1.0  # tokens 0 to 3 of the first of four windows
    difference = (model(x)["scale2"] - before).abs()
    assert difference[..., :8, :8].amin(dim=(0, 1)).all()
    assert difference[..., 8:, :].any() == difference[..., 8:].any() == reach


@torch.no_grad()
def test_absolute_position_is_added_to_the_patches():
    with_position = small_network(pos_embed_grid=(4, 4), pos_embed_has_class_row=True)
    assert with_position.pos_embed.shape == (1, 17, 16)
    x = image((33, 70))
    features = with_position(x)
    with_position.pos_embed[:, 0] = 1e6  # the class row is not used
    assert torch.equal(with_position(x)["scale5"], features["scale5"])
    with_position.pos_embed.zero_()
    without = small_network()
    for name, feature in without(x).items():
        torch.testing.assert_close(with_position(x)[name], feature)
        assert not torch.allclose(features[name], feature, atol=0.1)


# ------------------------------------------------------------------------------------ class token


def unwindowed(**options):
    plan = small_plan(window=None, coarse_kv=())
    return fill_parameters(network(plan, class_token=True, **options))


@torch.no_grad()
def test_class_token_attends_to_the_image_and_tokens_to_it():
    model = unwindowed()
    x = image((64, 64), batch=2)
    tokens, class_token = model.encode(x)
    assert tokens.shape == (2, 2, 2, 128) and class_token.shape == (2, 1, 128)
    changed = x.clone()
    changed[1, :, :8, :8] += 1.0
    other = model.encode(changed)[1]
    assert torch.equal(other[0], class_token[0])
    assert not torch.allclose(other[1], class_token[1], atol=1e-3)
    model.cls_token.mul_(-3.0)
    assert not torch.allclose(model.encode(x)[0], tokens, atol=1e-3)


@torch.no_grad()
def test_encode_returns_the_input_of_the_last_norm():
    model = unwindowed()
    x = image((33, 70))
    tokens, _ = model.encode(x)
    feature = model.scale5_norm(tokens).movedim(-1, 1)
    torch.testing.assert_close(model(x)["scale5"], feature)


@torch.no_grad()
def test_class_row_of_the_absolute_position_is_for_the_class_token():
    model = unwindowed(pos_embed_grid=(4, 4), pos_embed_has_class_row=True)
    x = image((64, 64))
    before = model.embed(x)
    model.pos_embed[:, 0] += 1.0
    tokens, class_token = model.embed(x)
    assert torch.equal(tokens, before[0])
    torch.testing.assert_close(class_token, before[1] + 1.0)


def test_class_token_with_windows_is_refused():
    with pytest.raises(ValueError, match="use a plan without windows"):
        network(small_plan(), class_token=True)


# ------------------------------------------------------------------------------ what is returned


@pytest.mark.parametrize("names", [("scale4",), ("scale5", "scale2"), SCALES, ()])
@torch.no_grad()
def test_only_requested_features_are_returned_and_have_a_norm(names):
    x = image((33, 70))
    everything = small_network()(x)
    model = small_network(out_features=names)
    features = model(x)
    assert set(features) == set(names)
    assert {name for name in SCALES if hasattr(model, f"{name}_norm")} == set(names)
    for name in names:
        torch.testing.assert_close(features[name], everything[name])


def test_unknown_feature_is_named():
    with pytest.raises(ValueError, match=r"out_features has \['scale6'\].*'scale2', 'scale3'"):
        network(small_plan(), out_features=("scale2", "scale6"))


# ----------------------------------------------------------------------- activation checkpointing


def run_in_training(model, size=(33, 70)):
    """Return features, gradients by name, and bytes of activations kept for the backward pass."""
    model.train()
    x = image(size).requires_grad_()
    kept = {}

    def pack(tensor):
        # one entry per memory block, so that views are not counted twice
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(5)  # the masks of stochastic depth
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = model(x)
    for parameter in model.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    loss_of(features).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return features, {**gradients, "input": x.grad}, sum(kept.values())


# per value: the share of the activations that remains, at most
CHECKPOINTING = {
    True: 0.1,
    "branches": 0.2,
    "attention": 0.7,
    "mlp": 0.8,
    (True, "branches", "mlp", False): 0.5,
}


@both_forms
@pytest.mark.parametrize("drop_path_rate", [0.0, 0.5])
def test_checkpointing_changes_memory_and_nothing_else(fused, drop_path_rate):
    options = dict(drop_path_rate=drop_path_rate, fused_attention=fused)
    features, gradients, kept = run_in_training(small_network(**options))
    for value, share in CHECKPOINTING.items():
        checkpointed = small_network(**options, activation_checkpointing=value)
        features_2, gradients_2, kept_2 = run_in_training(checkpointed)
        for name, feature in features.items():
            assert torch.equal(features_2[name], feature), name
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradients_2[name], gradient, rtol=1e-5, atol=1e-5)
        assert kept_2 < kept * share, (value, kept_2 / kept)


@pytest.mark.parametrize("value", ["all", 2, ["mlp"] * 3, ["mlp", None, "mlp", "mlp"]])
def test_unknown_checkpointing_is_named(value):
    with pytest.raises(ValueError, match="use_act_checkpoint="):
        small_network(activation_checkpointing=value)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("clips", [False, True])
def test_forward_neither_waits_for_a_gpu_nor_mixes_devices(clips, training):
    # Fake tensors have a device but no values: reading one, or one left on the CPU, raises.
    if clips:
        model = network(clip_plan(SMALL, (4, 16, 16)), class_token=True)
    else:
        model = network(small_plan(drop_path_rate=0.5))
    model.train(training)
    images = torch.empty(2, 3, *((5,) if clips else ()), 96, 70)
    with FakeTensorMode() as mode:
        state = {**dict(model.named_parameters()), "images": images}
        on_gpu = {
            key: torch.empty_like(mode.from_tensor(x), device="cuda") for key, x in state.items()
        }
        outputs = torch.func.functional_call(model, on_gpu, (on_gpu.pop("images"),))
    assert outputs.keys() == set(SCALES)
    assert {output.device.type for output in outputs.values()} == {"cuda"}
