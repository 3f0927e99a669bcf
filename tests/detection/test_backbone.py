"""The backbone with Detectron2's interface; test_backbone_parity.py compares its numbers."""

import math

import pytest
import torch
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from golden.make_backbone import VARIANT_ARGUMENTS
from torch import nn

from mvit_det.detection import MViT

SCALES = ("scale2", "scale3", "scale4", "scale5")
# A narrow network with every kind of block.
SMALL = dict(
    img_size=64, embed_dim=16, depth=6, last_block_indexes=(0, 2, 4, 5), adaptive_window_size=16
)


def image(size, batch=1):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def test_backbone_is_registered():
    assert BACKBONE_REGISTRY.get("MViT") is MViT
    assert issubclass(MViT, Backbone)


@pytest.mark.parametrize(
    "change, channels, stride",
    [
        (VARIANT_ARGUMENTS["T"], dict(zip(SCALES, (96, 192, 384, 768))), 16),
        (dict(out_features=("scale4",)), {"scale4": 64}, 16),
        (dict(out_features=("scale4", "scale3")), {"scale3": 32, "scale4": 64}, 16),
        (dict(out_features=("scale4",), patch_stride=(8, 8)), {"scale4": 64}, 32),
        # with expansion in the MLP, a stage ends with the width of the next
        (
            dict(out_features=("scale4", "scale5"), expand_in="mlp"),
            {"scale4": 128, "scale5": 128},
            16,
        ),
    ],
)
def test_output_shape_describes_the_result_of_forward(change, channels, stride):
    model = MViT(**{**SMALL, **change}).eval()
    shapes = model.output_shape()
    assert {name: spec.channels for name, spec in shapes.items()} == channels
    assert shapes["scale4"].stride == stride
    with torch.no_grad():
        features = model(image((64, 64)))
    for name, spec in shapes.items():
        assert features[name].shape == (1, spec.channels, 64 // spec.stride, 64 // spec.stride)


def test_fpn_on_the_backbone():
    model = FPN(
        bottom_up=MViT(**SMALL),
        in_features=SCALES,
        out_channels=8,
        top_block=LastLevelMaxPool(),
    )
    assert [(name, spec.stride) for name, spec in model.output_shape().items()] == [
        (f"p{level}", 2**level) for level in range(2, 7)
    ]
    assert model.size_divisibility == 32
    pyramid = model(image((96, 64), batch=2))
    for level in range(2, 7):
        height, width = math.ceil(96 / 2**level), math.ceil(64 / 2**level)
        assert pyramid[f"p{level}"].shape == (2, 8, height, width)
    sum(feature.sum() for feature in pyramid.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_activation_is_configurable():
    model = MViT(**SMALL, act_layer=nn.ReLU)
    assert all(isinstance(block.mlp.act, nn.ReLU) for block in model.blocks)


@torch.no_grad()
def test_coarse_keys_are_in_two_blocks_and_can_be_switched_off():
    strides = [block.attn.pool_k.stride for block in MViT(**SMALL).blocks]
    assert strides == [(s, s) for s in (4, 2, 4, 1, 2, 1)]
    strides = [block.attn.pool_k.stride for block in MViT(**SMALL, coarse_global_kv=False).blocks]
    assert strides == [(s, s) for s in (4, 2, 2, 1, 1, 1)]


def test_fused_attention_can_be_switched_off():
    assert all(block.attn.fused for block in MViT(**SMALL).blocks)
    assert not any(block.attn.fused for block in MViT(**SMALL, fused_attention=False).blocks)


def test_depth_must_agree_with_the_last_block():
    with pytest.raises(ValueError, match=r"depth=10 and .*\(0, 2, 4, 5\) disagree.* must be 9"):
        MViT(**{**SMALL, "depth": 10})
