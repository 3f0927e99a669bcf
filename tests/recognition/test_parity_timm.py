"""The classifier against timm's, with the same weights, which are exchanged in files."""

from dataclasses import replace
from itertools import accumulate
from unittest import mock

import pytest
import torch
from exchange import largest_difference, load
from golden.make_backbone import fill_parameters
from safetensors.torch import save_file
from timm.models.mvitv2 import MultiScaleVit, model_cfgs
from torch import nn

from mvit_det.recognition import ClassifierMViT, Recognizer

NUM_CLASSES = 30
# narrow networks with every kind of block of these models; timm's large has the released IN-1K
# layout, with expansion in the MLP
NARROW = dict(embed_dim=tuple(24 * 2**n for n in range(4)), depths=(1, 2, 3, 2))


def without_initialisation():
    """Skip the draws of constructors; all parameters are filled later."""
    keep = lambda tensor, *args, **kwargs: tensor  # noqa: E731
    return mock.patch.multiple(nn.init, trunc_normal_=keep, kaiming_uniform_=keep)


def build_theirs(name, size, **changes):
    """Build timm's model of that name with random values for all parameters."""
    cfg = replace(model_cfgs[f"mvitv2_{name}"], **changes)
    with without_initialisation():
        model = MultiScaleVit(cfg, img_size=size, num_classes=NUM_CLASSES)
    generator = torch.Generator().manual_seed(0)
    draw = lambda _, shape: torch.randn(shape, generator=generator)  # noqa: E731
    return cfg, fill_parameters(model, draw)


def build_pair(folder, name, size=(96, 96), **changes):
    """Build timm's model and ours with its weights, read from a file; also return what was read."""
    cfg, theirs = build_theirs(name, size, **changes)
    with without_initialisation():
        backbone = ClassifierMViT(
            input_size=size,
            embed_dim=cfg.embed_dim[0],
            num_heads=cfg.num_heads[0],
            last_block_indexes=[total - 1 for total in accumulate(cfg.depths)],
            class_token=cfg.use_cls_token,
            expand_in="attention" if cfg.expand_attn else "mlp",
        )
        ours = Recognizer(backbone, NUM_CLASSES).eval()
    save_file(theirs.state_dict(), folder / "weights.safetensors")
    return theirs, ours, load(ours, folder / "weights.safetensors", "timm")


def image(size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "size", "changes"),
    [
        ("tiny", (96, 96), NARROW),
        ("large", (96, 96), dict(NARROW, depths=(2, 3, 4, 2))),
        pytest.param("tiny", (224, 224), {}, marks=pytest.mark.slow),
        pytest.param("tiny", (256, 256), {}, marks=pytest.mark.slow),
        pytest.param("small", (224, 224), {}, marks=pytest.mark.slow),
        pytest.param("base", (224, 224), {}, marks=pytest.mark.slow),
        pytest.param("large", (224, 224), {}, marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_logits_are_equal(tmp_path, name, size, changes):
    theirs, ours, _ = build_pair(tmp_path, name, size, **changes)
    expected = theirs(image(size))
    for fused in (True, False):
        for block in ours.backbone.blocks:
            block.attn.fused = fused
        assert largest_difference(ours.logits(image(size)), expected) < 1e-5, fused


def test_gradients_are_equal(tmp_path):
    theirs, ours, weights = build_pair(tmp_path, "tiny", **NARROW)
    for logits in (theirs(image((96, 96))), ours.logits(image((96, 96)))):
        logits.cos().sum().backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    norms = {name: gradient.norm().item() for name, gradient in expected.items()}
    # A bias that all keys share leaves a softmax unchanged: its gradient is rounding noise.
    floor = 1e-2 * sorted(norms.values())[len(norms) // 2]
    for name, parameter in ours.named_parameters():
        source = weights.sources[name.removeprefix("backbone.")]
        assert norms[source] > floor or name.endswith("norm_k.bias")
        difference = (parameter.grad - expected[source]).norm().item()
        assert difference < 1e-3 * max(norms[source], floor), name


def leave_class_token_out_of_residual_pooling(model):
    """Subtract by hooks what every attention of timm adds to the class token.

    The released models (facebookresearch/mvit, PySlowFast) add the pooled query to all tokens
    except the class token; timm adds it to all.
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
def test_class_token_differs_in_residual_pooling_only(tmp_path):
    theirs, ours, _ = build_pair(tmp_path, "small_cls", **NARROW)
    x = image((96, 96))
    logits = ours.logits(x)
    assert largest_difference(logits, theirs(x)) > 0.1
    leave_class_token_out_of_residual_pooling(theirs)
    assert largest_difference(logits, theirs(x)) < 1e-5
