"""Batches of images of several sizes, padded."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F


class ImageList:
    """A batch of images, padded at the bottom and the right to one size.

    ``tensor`` is (N, C, H, W), padding included; ``image_sizes`` are (height, width) without it.
    """

    def __init__(self, tensor: torch.Tensor, image_sizes: list[tuple[int, int]]):
        self.tensor = tensor
        self.image_sizes = image_sizes

    @staticmethod
    def from_tensors(tensors: Sequence[torch.Tensor], size_divisibility: int = 0) -> "ImageList":
        """Pad images (C, H_i, W_i) with 0 and stack them.

        H and W become multiples of ``size_divisibility``.
        """
        sizes = [(image.shape[-2], image.shape[-1]) for image in tensors]
        multiple = max(size_divisibility, 1)
        height, width = (-(-max(sides) // multiple) * multiple for sides in zip(*sizes))
        padded = [F.pad(t, (0, width - w, 0, height - h)) for t, (h, w) in zip(tensors, sizes)]
        return ImageList(torch.stack(padded), sizes)
