"""The classifier: readouts, head, losses, inputs of any size, images and clips."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import LazyCall, LazyConfig, instantiate
from omegaconf import OmegaConf

from mvit_det.recognition import CLIP_ARGUMENTS, ClassifierMViT, Recognizer

SMALL = dict(input_size=(64, 64), embed_dim=16, last_block_indexes=(0, 1, 3, 4))
CLIP = dict(
    CLIP_ARGUMENTS,
    input_size=(4, 64, 64),
    embed_dim=16,
    last_block_indexes=(0, 1, 3, 4),
)


def recognizer(backbone=SMALL, num_classes=7, **options) -> Recognizer:
    torch.manual_seed(0)
    parts = {key: options.pop(key) for key in ("class_token", "use_abs_pos") if key in options}
    return Recognizer(ClassifierMViT(**backbone, **parts), num_classes, **options)


def images(*size: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("use_abs_pos", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (33, 70), (16, 16)])
@torch.no_grad()
def test_any_input_size_gives_one_row_of_probabilities_per_input(class_token, use_abs_pos, size):
    model = recognizer(class_token=class_token, use_abs_pos=use_abs_pos).eval()
    scores = model({"inputs": images(*size)})
    assert scores.shape == (3, 7) and scores.dtype == torch.float32
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(3))
    # samples do not affect each other
    torch.testing.assert_close(model({"inputs": images(*size)[1:2]}), scores[1:2])


@torch.no_grad()
def test_readouts():
    for readout in ("class_token", "mean", "mean_before_norm"):
        model = recognizer(class_token=True, readout=readout).eval()
        torch.nn.init.normal_(model.norm.weight)
        torch.nn.init.normal_(model.norm.bias)
        tokens, class_token = model.backbone.encode(images(64, 64))
        mean = tokens.mean(dim=(1, 2))
        features = {
            "class_token": model.norm(class_token[:, 0]),
            "mean": model.norm(tokens).mean(dim=(1, 2)),
            "mean_before_norm": model.norm(mean),
        }
        projection = model.head.projection
        logits = model.logits(images(64, 64))
        for name, feature in features.items():
            equal = torch.allclose(logits, F.linear(feature, projection.weight), atol=1e-5)
            assert equal == (name == readout)


def test_readout_follows_the_backbone():
    assert recognizer().readout == "mean"
    assert recognizer(class_token=True).readout == "class_token"


@pytest.mark.parametrize("readout", ["class_token", "max"])
def test_impossible_readout_is_refused(readout):
    with pytest.raises(ValueError, match="use one of mean, mean_before_norm"):
        recognizer(readout=readout)


def test_loss_is_cross_entropy_with_hard_and_with_soft_labels():
    model = recognizer().train()
    inputs, labels = images(64, 64), torch.tensor([2, 0, 6])
    logits = model.logits(inputs)
    by_hand = -logits.log_softmax(dim=1)[range(3), labels].mean()
    hard = model({"inputs": inputs, "labels": labels})
    assert set(hard) == {"loss_cls"}
    torch.testing.assert_close(hard["loss_cls"], by_hand)
    soft = F.one_hot(labels, 7).float()
    torch.testing.assert_close(model({"inputs": inputs, "labels": soft})["loss_cls"], by_hand)
    mixed = torch.rand(3, 7).softmax(dim=1)
    by_hand = -(mixed * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(model({"inputs": inputs, "labels": mixed})["loss_cls"], by_hand)


def test_loss_reaches_every_parameter():
    for options in ({}, {"class_token": True}, {"class_token": True, "readout": "mean"}):
        model = recognizer(**options).train()
        model({"inputs": images(64, 64), "labels": torch.tensor([1, 2, 3])})["loss_cls"].backward()
        assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_head_starts_small_and_drops_out():
    usual, small = recognizer(), recognizer(head_init_scale=0.001)
    torch.testing.assert_close(
        small.head.projection.weight, 0.001 * usual.head.projection.weight, rtol=1e-5, atol=0
    )
    assert not usual.head.projection.bias.any()
    assert usual.head.projection.weight.std().item() == pytest.approx(0.02, rel=0.1)
    dropping = recognizer(head_dropout=0.5).train()
    a, b = dropping.logits(images(64, 64)), dropping.logits(images(64, 64))
    assert not torch.equal(a, b)
    dropping.eval()
    assert torch.equal(dropping.logits(images(64, 64)), dropping.logits(images(64, 64)))


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(input_size=(16, 64, 64)), "as many as patch_kernel"),
        (dict(input_size=(64,)), "must have 2 for images or 3 for clips"),
    ],
)
def test_numbers_of_axes_must_agree(changes, words):
    with pytest.raises(ValueError, match=words):
        ClassifierMViT(**{**SMALL, **changes})


@pytest.mark.parametrize("class_token", [False, True])
def test_absolute_position_has_the_nominal_grid(class_token):
    wide = dict(SMALL, input_size=(64, 96), use_abs_pos=True, class_token=class_token)
    assert ClassifierMViT(**wide).pos_embed.shape == (1, 16 * 24 + class_token, 16)


def test_saved_configs_may_use_the_earlier_name_of_the_backbone(tmp_path):
    path = tmp_path / "config.yaml"
    LazyConfig.save(OmegaConf.create({"model": LazyCall(ClassifierMViT)(**SMALL)}), str(path))
    target = "mvit_det.recognition.ClassifierMViT"
    assert target in path.read_text()
    for name in (target, "mvit_det.recognition.MViT"):
        path.write_text(path.read_text().replace(target, name))
        assert type(instantiate(LazyConfig.load(str(path)).model)) is ClassifierMViT


@torch.no_grad()
@pytest.mark.parametrize("kind", [dict(CLIP, input_size=(4, 32, 32)), SMALL])
def test_views_give_the_probabilities_of_each(kind):
    model, views = recognizer(kind, 5).eval(), torch.randn(2, 3, 3, *kind["input_size"])
    rows = model({"inputs": views})
    assert rows.shape == (2, 3, 5)
    for scores, sample in zip(rows, views):
        torch.testing.assert_close(scores, model({"inputs": sample}))


@torch.no_grad()
@pytest.mark.parametrize("max_views", [1, 2, 4, 6, 100])
def test_max_views_go_through_the_network_at_once(max_views):
    model = recognizer(dict(CLIP, input_size=(4, 32, 32))).eval()
    views = torch.randn(2, 3, 3, 4, 32, 32)
    expected = model({"inputs": views})
    sizes, encode = [], model.backbone.encode
    model.backbone.encode = lambda x: (sizes.append(len(x)), encode(x))[1]
    model.max_views = max_views
    torch.testing.assert_close(model({"inputs": views}), expected)
    assert sum(sizes) == 6 and max(sizes) == min(max_views, 6)


def test_max_views_must_be_positive():
    with pytest.raises(ValueError, match="max_views=0"):
        recognizer(max_views=0)


def test_pyslowfast_init_of_convolutions_and_biases():
    """Its code starts convolutions at N(0, 0.02), biases of linear layers and norms at 0.02."""
    released, plain = recognizer(CLIP, pyslowfast_init=True), recognizer(CLIP)
    for (name, value), default in zip(released.named_parameters(), plain.parameters()):
        if "pool_" in name or name == "backbone.patch_embed.proj.weight":
            assert abs(value.std().item() / 0.02 - 1) < 0.25
            assert not torch.equal(value, default)
        elif name.endswith("bias") and "patch_embed" not in name:
            assert (value == 0.02).all()
        elif name.endswith("norm1.weight"):
            assert (value == 1).all()
        elif name.endswith("qkv.weight"):
            assert abs(value.std().item() / 0.02 - 1) < 0.1
    without = recognizer(dict(CLIP, qkv_bias=False), pyslowfast_init=True)
    assert (without.backbone.blocks[0].attn.proj.bias == 0.02).all()
