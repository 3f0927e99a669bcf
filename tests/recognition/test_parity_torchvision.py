"""The classifier of clips against torchvision's, on the same weights, which travel in files."""

import torch
from exchange import convert, largest_difference, load
from golden.make_backbone import fill_parameters
from torchvision.models.video import mvit_v2_s

from mvit_det.backbone import VARIANTS
from mvit_det.recognition import OF_CLIPS, MViT, Recognizer

SIZE = (16, 224, 224)  # torchvision has no other


def build_ours():
    backbone = MViT(
        input_size=SIZE, last_block_indexes=VARIANTS["S"].last_block_indexes, **OF_CLIPS
    )
    return Recognizer(backbone, 30).eval()


@torch.no_grad()
def test_logits_are_equal_and_weights_go_both_ways(tmp_path):
    theirs, ours = mvit_v2_s(num_classes=30), build_ours()
    generator = torch.Generator().manual_seed(0)
    fill_parameters(theirs, lambda _, shape: torch.randn(shape, generator=generator))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    load(ours, tmp_path / "weights.pth", "torchvision")
    clip = torch.randn(1, 3, *SIZE, generator=generator)
    assert largest_difference(ours.logits(clip), theirs(clip)) < 1e-5
    # and back: the very numbers
    convert(ours, "torchvision", tmp_path / "back.pth")
    expected, back = theirs.state_dict(), torch.load(tmp_path / "back.pth")
    assert back.keys() == expected.keys()
    assert all(torch.equal(back[name], value) for name, value in expected.items())
