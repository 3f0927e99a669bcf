"""Small action detectors, clips and boxes for the tests of this folder."""

import torch

from mvit_det.recognition import CLIP_ARGUMENTS, ActionDetector, ClassifierMViT

SMALL = dict(CLIP_ARGUMENTS, input_size=(4, 64, 64), embed_dim=16, last_block_indexes=(0, 1, 3, 4))
# of three clips, in pixels
BOXES = [
    torch.tensor([[3.0, 5.0, 40.0, 60.0], [0.0, 0.0, 64.0, 64.0]]),
    torch.zeros(0, 4),
    torch.tensor([[20.5, 31.0, 33.0, 64.0]]),
]


def detector(backbone=SMALL, head_dropout=0.0, **options) -> ActionDetector:
    """A detector of seven actions with seeded weights."""
    torch.manual_seed(0)
    return ActionDetector(ClassifierMViT(**backbone), 7, head_dropout=head_dropout, **options)


def random_clips(*size: int, count: int = 3) -> torch.Tensor:
    """Clips (count, 3, T, H, W)."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))
