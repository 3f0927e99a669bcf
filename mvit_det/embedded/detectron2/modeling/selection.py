"""Selection of the best boxes: NMS, then a number per image."""

import torch
import torch.nn.functional as F
from torchvision.ops import nms

from detectron2.layers import batched_nms
from detectron2.structures.whole_batch import BatchSizes


def nms_and_best(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    groups: torch.Tensor,
    nms_thresh: float,
    count: int,
    image_size: tuple[int, int] | BatchSizes,
    num_groups: int,
) -> torch.Tensor:
    """Return the rows of the best ``count`` boxes of an image after NMS within groups, best first.

    Boxes (M, 4) are clipped to ``image_size``, ``groups`` (M,) are 0..num_groups - 1; a negative
    ``count`` is no limit. With `BatchSizes` the rows are the best of each image.
    """
    if not isinstance(image_size, BatchSizes):
        keep = batched_nms(boxes, scores, groups, nms_thresh)
        return keep[: count if count >= 0 else None]
    # Two more boxes, which overlap nothing and come last: neither the tracer nor the runtimes agree
    # about the NMS of nothing.
    placed = image_size.separate(boxes, groups, num_groups)
    spare = placed.new_tensor([[-3, -3, -2, -2], [-6, -6, -5, -5]])
    keep = nms(torch.cat([placed, spare]), F.pad(scores, (0, 2), value=-1e9), nms_thresh)
    keep = keep[keep < scores.shape[0]]
    keep = keep if count < 0 else keep[image_size.is_among_first(keep, count)]
    torch._check(keep.shape[0] < 1 << 30)  # products of an unlimited size exceed ONNX's integers
    return keep
