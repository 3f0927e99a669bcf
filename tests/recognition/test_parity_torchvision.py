"""The classifier of clips against torchvision's, with the same weights, exchanged in files."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from exchange import convert, largest_difference, load
from golden.make_backbone import fill_parameters
from torch import nn
from torchvision.models.video import MViT as TorchvisionMViT
from torchvision.models.video import mvit_v2_s
from torchvision.models.video.mvit import MSBlockConfig

from mvit_det.backbone import VARIANTS, multiscale_plan
from mvit_det.checkpoint import read_weights
from mvit_det.checkpoint.converting import translate
from mvit_det.recognition import CLIP_ARGUMENTS, ClassifierMViT, Recognizer

ENDS = (0, 2, 5, 7)  # every kind of block, in fewer than S has
SIZE = (8, 96, 96)
CLASSES = 30


def with_equal_weights(theirs, folder, **options):
    """Fill torchvision's model with random weights and load them into one of ours from a file."""
    generator = torch.Generator().manual_seed(0)
    fill_parameters(theirs, lambda _, shape: torch.randn(shape, generator=generator))
    torch.save(theirs.state_dict(), folder / "weights.pth")
    ours = Recognizer(ClassifierMViT(**{**CLIP_ARGUMENTS, **options}), CLASSES).eval()
    load(ours, folder / "weights.pth", "torchvision")
    return ours


def random_clip(size):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


def build_narrow(size):
    """Build torchvision's network with fewer and narrower blocks, for smaller clips."""
    plan = multiscale_plan(
        embed_dim=32,
        num_heads=1,
        last_block_indexes=ENDS,
        grid=(size[0] // 2, size[1] // 4, size[2] // 4),
        stride_kv=CLIP_ARGUMENTS["adaptive_kv_stride"],
    )
    blocks = [
        MSBlockConfig(
            num_heads=spec.num_heads,
            input_channels=spec.dim_in,
            output_channels=spec.dim_out,
            kernel_q=[3, 3, 3],
            kernel_kv=[3, 3, 3],
            stride_q=list(spec.stride_q),
            stride_kv=list(spec.stride_kv),
        )
        for spec in plan
    ]
    return TorchvisionMViT(
        spatial_size=size[1:],
        temporal_size=size[0],
        block_setting=blocks,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        dropout=0.0,
        stochastic_depth_prob=0.0,
        num_classes=CLASSES,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )


def narrow_pair(folder):
    theirs = build_narrow(SIZE)
    return theirs, with_equal_weights(
        theirs, folder, input_size=SIZE, embed_dim=32, last_block_indexes=ENDS
    )


@torch.no_grad()
def test_logits_are_equal_and_weights_convert_both_ways(tmp_path):
    theirs, ours = narrow_pair(tmp_path)
    clip = random_clip(SIZE)
    assert largest_difference(ours.logits(clip), theirs(clip)) < 1e-5
    convert(ours, "torchvision", tmp_path / "back.pth")
    expected, back = theirs.state_dict(), torch.load(tmp_path / "back.pth")
    assert back.keys() == expected.keys()
    assert all(torch.equal(back[name], value) for name, value in expected.items())


@pytest.mark.slow
@torch.no_grad()
def test_logits_of_the_whole_s_are_equal(tmp_path):
    theirs, size = mvit_v2_s(num_classes=CLASSES), (16, 224, 224)
    ends = VARIANTS["S"].last_block_indexes
    ours = with_equal_weights(theirs, tmp_path, input_size=size, last_block_indexes=ends)
    assert largest_difference(ours.logits(random_clip(size)), theirs(random_clip(size))) < 1e-5


def test_a_training_step_has_the_same_loss_and_gradients(tmp_path):
    theirs, ours = narrow_pair(tmp_path)
    # In double precision: the rounding errors of single precision grow from block to block.
    clip, labels = random_clip(SIZE).double(), torch.tensor([3])
    ours, theirs = ours.double().train(), theirs.double().train()
    logits = ours.logits(clip)
    expected_logits = theirs(clip)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-9, atol=1e-9)
    F.cross_entropy(logits, labels).backward()
    F.cross_entropy(expected_logits, labels).backward()
    # Gradients are converted like weights, under the names of their parameters.
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    torch.save({"model": gradients}, tmp_path / "gradients.pth")
    found, _, left_out = translate(read_weights(tmp_path / "gradients.pth"), "torchvision")
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert found.keys() == expected.keys() and not left_out
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-10, msg=name)
