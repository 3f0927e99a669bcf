"""Parameters and FLOPs of every classifier of the paper's Tables 1 to 3."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mvit_det.backbone import VARIANTS
from mvit_det.benchmark import counts
from mvit_det.recognition import CLIP_ARGUMENTS, ClassifierMViT, Recognizer
from mvit_det.tasks import Classification

TOLERANCE = 1e-3
# Variant, input size, further arguments; millions of parameters and GFLOPs counted on the released
# code with 1000 classes. The paper's figures of L are those of two forms: 218 M and 140.2 G.
MLP, CLASS_TOKEN = dict(expand_in="mlp"), dict(class_token=True)
ROWS = [
    ("T", 224, {}, 24.173, 4.704),
    ("S", 224, {}, 34.870, 6.998),
    ("B", 224, {}, 51.473, 10.159),
    ("B", 384, {}, 51.599, 36.685),
    ("L", 224, MLP, 217.993, 43.869),
    ("L", 224, {}, 213.635, 41.914),
    ("L", 224, dict(adaptive_kv_stride=(8, 8)), 213.631, 39.559),
    ("L", 384, {}, 213.807, 140.185),
    ("L", 384, MLP, 218.164, 145.930),
    ("L", 224, CLASS_TOKEN, 213.636, 42.151),
    ("L", 384, CLASS_TOKEN, 213.807, 140.468),
    ("H", 224, CLASS_TOKEN, 666.880, 120.639),
    ("H", 224, {}, 666.880, 119.922),
    ("H", 384, CLASS_TOKEN, 667.130, 388.517),
    ("H", 512, CLASS_TOKEN, 667.329, 763.539),
    ("S", 224, dict(adaptive_kv_stride=(8, 8)), 34.865, 6.329),
]
# Variant, input size, classes; millions of parameters and GFLOPs.
CLIPS = [
    ("S", (16, 224, 224), 400, 34.538, 64.46),
    ("B", (32, 224, 224), 400, 51.230, 225.17),
    ("S", (16, 224, 224), 174, 34.364, 64.46),
]


def build(variant, num_classes=1000, device="meta", **arguments):
    row = VARIANTS[variant]
    with torch.device(device):
        sizes = dict(
            embed_dim=row.embed_dim,
            num_heads=row.num_heads,
            last_block_indexes=row.last_block_indexes,
        )
        backbone = ClassifierMViT(**{**sizes, **arguments}, fused_attention=False)
        model = Recognizer(backbone, num_classes).eval()
    return model.requires_grad_(False)


def count(model, size):
    """Count FLOPs like the benchmark, but on the meta device."""
    norms = []
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(lambda module, args, out: norms.append(5 * out.numel()))
    with FlopCounterMode(display=False) as counter:
        model.logits(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops() / 2 + sum(norms)


@pytest.mark.parametrize(
    ("variant", "size", "changes", "parameters", "flops"),
    [
        pytest.param(*row, marks=pytest.mark.slow if row[0] in "LH" or row[1] > 224 else ())
        for row in ROWS
    ],
)
def test_image_classifiers(variant, size, changes, parameters, flops):
    model = build(variant, input_size=(size, size), **changes)
    assert counts.count_parameters(model) / 1e6 == pytest.approx(parameters, rel=TOLERANCE)
    assert count(model, (size, size)) / 1e9 == pytest.approx(flops, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("variant", "size", "classes", "parameters", "flops"),
    [pytest.param(*row, marks=pytest.mark.slow if row != CLIPS[0] else ()) for row in CLIPS],
)
def test_clip_classifiers(variant, size, classes, parameters, flops):
    model = build(variant, classes, input_size=size, **CLIP_ARGUMENTS)
    assert counts.count_parameters(model) / 1e6 == pytest.approx(parameters, rel=TOLERANCE)
    assert count(model, size) / 1e9 == pytest.approx(flops, rel=TOLERANCE)


@pytest.mark.parametrize("changes", [{}, CLASS_TOKEN])
def test_the_benchmark_counts_the_same(changes):
    size = (64, 64)
    changes = dict(changes, embed_dim=24)
    model = build("T", device="cpu", **changes)
    counted = counts.count(model, Classification(), (1, 3, *size))
    expected = count(build("T", **changes), size)
    assert counted["flops"] == pytest.approx(expected, rel=1e-6) and not counted["not_counted"]
