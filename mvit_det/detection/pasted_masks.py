"""Instance masks that are pasted into the image one at a time, on demand."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.layers import paste_masks_in_image
from torch import Tensor


class PastedMasks:
    """N masks of an image (N, H, W) bool, kept as the M x M probabilities that the model predicts.

    100 masks of an image of 8000 x 6000 need 0.3 MB, not 4.8 GB. Each mask equals the one that
    Detectron2 pastes on the same device, bit for bit.

    An integer index and iteration give single masks (H, W); slices, index tensors and lists give
    `PastedMasks`, and so do `to` and `cat`. Whatever else a tensor can do (``shape``, ``numpy()``,
    ``any(dim=0)``, ``torch.stack``, ``numpy.asarray``) is done on `tensor`, all N masks.

    Args:
        masks: (N, M, M) probabilities, floating point.
        boxes: (N, 4) XYXY in pixels of the image.
        size: (H, W) of the image.
    """

    dtype = torch.bool

    def __init__(self, masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> None:
        self.masks, self.boxes, self.size = masks, boxes, size

    @property
    def tensor(self) -> Tensor:
        """All masks (N, H, W) bool: N * H * W bytes."""
        return paste_masks_in_image(self.masks, self.boxes, self.size).bool()

    @property
    def shape(self) -> torch.Size:
        """(N, H, W), as that of `tensor`."""
        return torch.Size((len(self), *self.size))

    @property
    def device(self) -> torch.device:
        """The device of the probabilities, on which masks are pasted."""
        return self.masks.device

    def to(self, *args: Any, **kwargs: Any) -> "PastedMasks":
        """Return a copy on another device, as `torch.Tensor.to`; a dtype cannot be given."""
        boxes = self.boxes.to(*args, **kwargs)
        return PastedMasks(self.masks.to(*args, **kwargs), boxes, self.size)

    @staticmethod
    def cat(parts: Sequence["PastedMasks"]) -> "PastedMasks":
        """Concatenate masks of one image, as `Instances.cat` needs it."""
        masks, boxes = ([getattr(part, name) for part in parts] for name in ("masks", "boxes"))
        return PastedMasks(torch.cat(masks), torch.cat(boxes), parts[0].size)

    def __len__(self) -> int:
        return len(self.masks)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, tuple):
            return self.tensor[item]
        masks, boxes = self.masks[item], self.boxes[item]
        if masks.dim() == 3:
            return PastedMasks(masks, boxes, self.size)
        return PastedMasks(masks[None], boxes[None], self.size).tensor[0]

    def __getattr__(self, name: str) -> Any:
        # private names do not exist, or copying and unpickling would recurse
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.tensor, name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.tensor.numpy(), dtype)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Call a function of PyTorch on the tensors of masks among its arguments."""
        args, kwargs = torch.utils._pytree.tree_map_only(
            cls, lambda masks: masks.tensor, (args, kwargs or {})
        )
        return function(*args, **kwargs)

    def __eq__(self, other: Any) -> Any:
        return self.tensor == other

    def __ne__(self, other: Any) -> Any:
        return self.tensor != other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PastedMasks(num_instances={len(self)}, image_size={self.size})"
