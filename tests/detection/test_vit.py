"""A ViT as detection backbone: against Detectron2's ViTDet, and resampled for a feature pyramid."""

from functools import partial

import pytest
import torch
from detectron2.modeling import FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from golden.make_backbone import fill_parameters
from torch import nn

import mvit_det
from mvit_det.backbone import VIT_B
from mvit_det.detection import MViT, ResampledMViT

SCALES = ("scale2", "scale3", "scale4", "scale5")
NARROW = dict(
    VIT_B,
    embed_dim=64,
    num_heads=2,
    depth=12,
    img_size=64,
    pretrain_img_size=64,
    adaptive_kv_stride=1,
    adaptive_window_size=4,
    coarse_global_kv=False,
    norm_layer=partial(nn.LayerNorm, eps=1e-6),
)


def fill(model):
    generator = torch.Generator().manual_seed(0)
    return fill_parameters(model, lambda _, shape: torch.randn(shape, generator=generator)).eval()


def image(size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.skipif(mvit_det.host() != "real", reason="compares with the ViT of a real Detectron2")
@pytest.mark.parametrize("size", [(64, 64), (128, 96), (112, 80)])
@pytest.mark.parametrize("attention", ["hwin", "windows", "full"])
@pytest.mark.parametrize("use_rel_pos", [True, False])
@torch.no_grad()
def test_blocks_are_those_of_vitdet(size, attention, use_rel_pos):
    from detectron2.modeling import ViT

    # ViTDet pads before its linear layer: with a bias, padded keys would be the bias; ours are zero
    shared = dict(qkv_bias=False, use_rel_pos=use_rel_pos, use_abs_pos=True, img_size=64)
    windows = {"full": (), "windows": range(12), "hwin": (0, 1, 2, 3, 4, 6, 7, 9, 10)}
    theirs = fill(
        ViT(
            **shared,
            patch_size=16,
            embed_dim=64,
            num_heads=2,
            norm_layer=NARROW["norm_layer"],
            pretrain_img_size=64,
            window_size=4,
            window_block_indexes=windows[attention],
        )
    )
    ours = MViT(**{**NARROW, **shared, "attention": attention, "out_features": ()}).eval()
    ours.load_state_dict(theirs.state_dict())
    expected = theirs(image(size))["last_feat"].movedim(1, -1)
    tokens, _ = ours.encode(image(size))
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes, upsampled",
    [
        ({}, {"scale2": 2, "scale3": 1, "scale4": 0, "scale5": 0}),
        # a ViT that pools in the middle
        (
            dict(halving_blocks=(6,), full_pooling="qkv", adaptive_kv_stride=2),
            {"scale2": 2, "scale3": 1, "scale4": 1, "scale5": 0},
        ),
    ],
)
@torch.no_grad()
def test_maps_are_resampled_to_the_strides_of_a_pyramid(changes, upsampled):
    model = ResampledMViT(**{**NARROW, **changes}).eval()
    plain = MViT(**{**NARROW, **changes}).eval()
    x = image((96, 64))
    maps, shapes = model(x), model.output_shape()
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, 32]
    for (name, found), stride in zip(maps.items(), (4, 8, 16, 32)):
        assert found.shape == (2, 64, 96 // stride, 64 // stride)
        convolutions = [
            part for part in model.resample[name].modules() if isinstance(part, nn.ConvTranspose2d)
        ]
        assert len(convolutions) == upsampled[name]
    # weights are those of the same network without
    state = model.state_dict()
    missing = plain.load_state_dict(state, strict=False)
    assert not missing.missing_keys
    assert all(name.startswith("resample.") for name in missing.unexpected_keys)
    last = plain(x)["scale5"]
    halved = nn.functional.max_pool2d(last, 2) if not changes else last
    assert torch.equal(maps["scale5"], halved)
    assert plain.output_shape()["scale5"].stride == (32 if changes else 16)


@torch.no_grad()
def test_pyramid_on_a_vit():
    bottom_up = ResampledMViT(**NARROW)
    model = FPN(bottom_up, SCALES, out_channels=8, top_block=LastLevelMaxPool()).eval()
    assert model.size_divisibility == 32
    maps = model(image((64, 96)))
    assert {name: map_.shape[-2:] for name, map_ in maps.items()} == {
        "p2": (16, 24),
        "p3": (8, 12),
        "p4": (4, 6),
        "p5": (2, 3),
        "p6": (1, 2),
    }


def test_images_are_padded_to_whole_patches():
    assert MViT(**NARROW).size_divisibility == 16
    assert MViT(depth=4, last_block_indexes=(0, 1, 2, 3), embed_dim=8).size_divisibility == 0


def test_what_does_not_fit_a_vit_is_refused():
    with pytest.raises(ValueError, match="set it to False with width_growth=1"):
        MViT(**{**NARROW, "coarse_global_kv": True})
    with pytest.raises(ValueError, match="cannot be resampled by 8"):
        ResampledMViT(**{**NARROW, "patch_stride": (32, 32), "patch_kernel": (32, 32)})
    with pytest.raises(ValueError, match="attention='swim' is not known"):
        MViT(**{**NARROW, "attention": "swim"})
    with pytest.raises(ValueError, match="attention='swin' needs a window"):
        MViT(**{**NARROW, "attention": "swin", "adaptive_window_size": 0})
