"""Non-maximum suppression."""

import torch
from torchvision.ops import boxes as box_ops


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Suppress boxes that overlap a better one of their class by more than ``iou_threshold``.

    Args: ``boxes`` (N, 4) XYXY, ``scores`` (N,), ``idxs`` (N,) the class or feature level of each.
    Returns: indices of the boxes kept, by falling score.
    """
    # float: half precision cannot tell neighbouring pixels apart in a large image
    return box_ops.batched_nms(boxes.float(), scores.float(), idxs, iou_threshold)
