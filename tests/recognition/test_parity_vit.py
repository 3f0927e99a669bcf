"""ViT-B against timm's, with the same weights."""

import pytest
import torch
from exchange import largest_difference
from golden.make_backbone import fill_parameters
from timm.models.vision_transformer import VisionTransformer, vit_base_patch16_224

from mvit_det.backbone import VIT_B
from mvit_det.recognition import ClassifierMViT, Recognizer

NUM_CLASSES = 30
NARROW = dict(embed_dim=48, num_heads=3)


@pytest.mark.parametrize(
    ("size", "changes"),
    [(96, NARROW), pytest.param(224, {}, marks=pytest.mark.slow)],
    ids=["narrow", "vit_base_patch16_224"],
)
@torch.no_grad()
def test_vit_is_that_of_timm(size, changes):
    generator = torch.Generator().manual_seed(0)
    draw = lambda _, shape: torch.randn(shape, generator=generator)  # noqa: E731
    sizes = dict(img_size=size, num_classes=NUM_CLASSES, **changes)
    theirs = VisionTransformer(**sizes) if changes else vit_base_patch16_224(**sizes)
    theirs = fill_parameters(theirs, draw).eval()
    arguments = {**VIT_B, **changes, "input_size": (size, size), "adaptive_kv_stride": (1, 1)}
    ours = Recognizer(ClassifierMViT(**arguments, class_token=True), NUM_CLASSES).eval()
    prefixes = {"norm": "norm", "head": "head.projection"}
    state = {}
    for name, tensor in theirs.state_dict().items():
        part, _, leaf = name.rpartition(".")
        inside = f"{prefixes[part]}.{leaf}" if part in prefixes else f"backbone.{name}"
        state[inside] = tensor
    ours.load_state_dict(state)
    x = torch.randn(2, 3, size, size, generator=generator)
    expected = theirs(x)
    for fused in (True, False):
        for block in ours.backbone.blocks:
            block.attn.fused = fused
        assert largest_difference(ours.logits(x), expected) < 1e-5, fused
