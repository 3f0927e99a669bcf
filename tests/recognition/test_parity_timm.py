"""The classifier against timm's, on the same weights, which travel in files as users' do."""

from unittest import mock

import pytest
import timm
import torch
from exchange import largest_difference, load
from golden.make_backbone import fill_parameters
from safetensors.torch import save_file
from torch import nn

from mvit_det.backbone import VARIANTS
from mvit_det.recognition import ClassifierMViT, Recognizer

NUM_CLASSES = 30
VARIANT_OF = {"tiny": "T", "small": "S", "base": "B", "large": "L"}


def without_initialisation():
    """Skip the draws of constructors; all parameters are filled later."""
    keep = lambda tensor, *args, **kwargs: tensor  # noqa: E731
    return mock.patch.multiple(nn.init, trunc_normal_=keep, kaiming_uniform_=keep)


def build_theirs(name, size=(224, 224)):
    """timm's model of that name with random values for all parameters."""
    with without_initialisation():
        model = timm.create_model(f"mvitv2_{name}", img_size=size, num_classes=NUM_CLASSES)
    generator = torch.Generator().manual_seed(0)
    return fill_parameters(model, lambda _, shape: torch.randn(shape, generator=generator))


def build_ours(name, size=(224, 224), **changes):
    """Our model of the same name, without values."""
    row = VARIANTS[VARIANT_OF[name.split("_")[0]]]
    backbone = ClassifierMViT(
        input_size=size,
        embed_dim=row.embed_dim,
        num_heads=row.num_heads,
        last_block_indexes=row.last_block_indexes,
        class_token=name.endswith("_cls"),
        # timm has the layout of the released ImageNet-1K weights of L
        expand_in="mlp" if name == "large" else "attention",
        **changes,
    )
    return Recognizer(backbone, NUM_CLASSES).eval()


def load_theirs(model, theirs, folder):
    """Their weights, by way of a file, into a model of ours; returns what was read."""
    path = folder / "weights.safetensors"
    save_file(theirs.state_dict(), path)
    return load(model, path, "timm")


def image(size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("tiny", (224, 224)),
        ("tiny", (256, 256)),
        ("small", (224, 224)),
        ("base", (224, 224)),
        ("large", (224, 224)),
    ],
)
@torch.no_grad()
def test_logits_are_equal(tmp_path, name, size):
    theirs, ours = build_theirs(name, size), build_ours(name, size)
    load_theirs(ours, theirs, tmp_path)
    expected = theirs(image(size))
    for fused in (True, False):
        for block in ours.backbone.blocks:
            block.attn.fused = fused
        assert largest_difference(ours.logits(image(size)), expected) < 1e-5, fused


def test_gradients_are_equal(tmp_path):
    theirs, ours = build_theirs("tiny"), build_ours("tiny")
    weights = load_theirs(ours, theirs, tmp_path)
    for logits in (theirs(image((224, 224))), ours.logits(image((224, 224)))):
        logits.cos().sum().backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    norms = {name: gradient.norm().item() for name, gradient in expected.items()}
    # Nothing but rounding noise is left of the gradient of what all keys share in a softmax.
    floor = 1e-2 * sorted(norms.values())[len(norms) // 2]
    for name, parameter in ours.named_parameters():
        source = weights.sources[name.removeprefix("backbone.")]
        assert norms[source] > floor or name.endswith("norm_k.bias")
        difference = (parameter.grad - expected[source]).norm().item()
        assert difference < 1e-3 * max(norms[source], floor), name


def leave_class_token_out_of_residual_pooling(model):
    """Undo in every attention of timm what it adds to the class token, from outside.

    The released models (facebookresearch/mvit, PySlowFast) add the pooled query to all tokens but
    this one; timm adds it to all.
    """
    for stage in model.stages:
        for block in stage.blocks:
            queries = []
            block.attn.norm_q.register_forward_hook(
                lambda module, args, out, queries=queries: queries.append(out)
            )

            def undo(module, args, queries=queries):
                query = queries.pop()[:, :, 0].flatten(1)  # (B, heads, 1 + N, D) -> (B, C)
                tokens = args[0].clone()
                tokens[:, 0] -= query
                return tokens

            block.attn.proj.register_forward_pre_hook(undo)


@torch.no_grad()
def test_a_class_token_is_equal_but_for_its_residual_pooling(tmp_path):
    theirs, ours = build_theirs("small_cls"), build_ours("small_cls")
    load_theirs(ours, theirs, tmp_path)
    found, x = ours.logits(image((224, 224))), image((224, 224))
    assert largest_difference(found, theirs(x)) > 0.1
    leave_class_token_out_of_residual_pooling(theirs)
    assert largest_difference(found, theirs(x)) < 1e-5
