"""Paste masks of boxes into images."""

from typing import Any

import torch
from torch.nn import functional as F


def paste_masks_in_image(
    masks: torch.Tensor, boxes: Any, image_shape: tuple[int, int], threshold: float = 0.5
) -> torch.Tensor:
    """Resize each mask, (N, M, M) probabilities, to its box, and paste it into an empty image.

    ``boxes`` are ``Boxes`` or (N, 4) XYXY in pixels, ``image_shape`` is (height, width). Returns
    (N, height, width) bool: the probability is at least ``threshold``.
    """
    boxes = boxes if isinstance(boxes, torch.Tensor) else boxes.tensor
    masks, boxes = masks.float(), boxes.float()
    pasted = torch.zeros((len(masks), *image_shape), dtype=torch.bool, device=masks.device)
    # Only pixels of the box, and one pixel around it, can be covered.
    limits = boxes.new_tensor(image_shape).flip(0)
    first = (boxes[:, :2].floor() - 1).clamp(min=0).minimum(limits)
    last = (boxes[:, 2:].ceil() + 1).clamp(min=0).minimum(limits)
    regions = torch.cat((first, last), dim=1).long().tolist()
    for target, mask, box, (x0, y0, x1, y1) in zip(pasted, masks, boxes, regions):
        if x0 >= x1 or y0 >= y1:
            continue
        # centres of the pixels, in coordinates where the box spans -1..1
        x, y = (torch.arange(*span, device=box.device) + 0.5 for span in ((x0, x1), (y0, y1)))
        x, y = ((t - box[i]) / (box[i + 2] - box[i]) * 2 - 1 for i, t in enumerate((x, y)))
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        values = F.grid_sample(mask[None, None], grid[None], align_corners=False)
        target[y0:y1, x0:x1] = values[0, 0] >= threshold
    return pasted
