"""From masks in boxes to masks in images."""

import torch
from torch.nn import functional as F


def _positions_in_box(
    box_span: torch.Tensor, pixels: tuple[int, int], dtype: torch.dtype
) -> torch.Tensor:
    """Centres of the pixels first..last-1 on one axis, where the box spans -1 to 1."""
    low, high = box_span
    centers = torch.arange(*pixels, device=box_span.device, dtype=dtype) + 0.5
    return (centers - low) / (high - low) * 2 - 1


def paste_masks_in_image(
    masks: torch.Tensor, boxes: torch.Tensor, image_shape: tuple[int, int], threshold: float = 0.5
) -> torch.Tensor:
    """Resize each mask to its box and put it into an empty image.

    Args:
        masks: (N, M, M), probabilities over the box's area.
        boxes: N ``Boxes``, or (N, 4) XYXY in pixels; parts outside of the image are cut.
        image_shape: (height, width).
        threshold: from which probability on a pixel belongs to the mask; negative: soft masks.

    Returns:
        (N, height, width): bool, or uint8 (0..255) for soft masks.
    """
    if not isinstance(boxes, torch.Tensor):
        boxes = boxes.tensor
    assert masks.shape[-1] == masks.shape[-2], f"Masks must be square, got {tuple(masks.shape)}."
    soft = threshold < 0
    masks = masks.float()
    boxes = boxes.to(masks)
    pasted = torch.zeros(
        (len(masks), *image_shape), dtype=torch.uint8 if soft else torch.bool, device=masks.device
    )
    # Only pixels in the box, and one around it, can be covered: touch no others.
    limits = boxes.new_tensor(image_shape).flip(0)
    first = (boxes[:, :2].floor() - 1).nan_to_num().clamp(min=0).minimum(limits)
    last = (boxes[:, 2:].ceil() + 1).nan_to_num().clamp(min=0).minimum(limits)
    regions = torch.cat((first, last), dim=1).long().tolist()
    for target, mask, box, (x0, y0, x1, y1) in zip(pasted, masks, boxes, regions):
        if x0 >= x1 or y0 >= y1:
            continue
        xs = _positions_in_box(box[0::2], (x0, x1), masks.dtype)
        ys = _positions_in_box(box[1::2], (y0, y1), masks.dtype)
        grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)
        values = F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
        target[y0:y1, x0:x1] = values * 255 if soft else values >= threshold
    return pasted
