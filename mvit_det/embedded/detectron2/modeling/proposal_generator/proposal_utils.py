"""Choosing among the boxes of an RPN, and adding ground truth to them.

Legend: L levels, N images, A_i boxes of level i.
"""

import math
from typing import Sequence

import torch

from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances

# The logit of a ground truth box that is added to the proposals: all but certain.
GT_LOGIT = math.log((1.0 - 1e-10) / (1 - (1.0 - 1e-10)))


def _proposals_of_image(
    boxes: torch.Tensor,
    logits: torch.Tensor,
    levels: torch.Tensor,
    image_size: tuple[int, int],
    nms_thresh: float,
    min_box_size: float,
) -> Instances:
    """Clip, drop what is too small, suppress duplicates level by level; best first."""
    found = Instances(image_size, proposal_boxes=Boxes(boxes), objectness_logits=logits)
    found.proposal_boxes.clip(image_size)
    large = found.proposal_boxes.nonempty(threshold=min_box_size)
    found, levels = found[large], levels[large]
    return found[
        batched_nms(found.proposal_boxes.tensor, found.objectness_logits, levels, nms_thresh)
    ]


def find_top_rpn_proposals(
    proposals: Sequence[torch.Tensor],
    pred_objectness_logits: Sequence[torch.Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """The best boxes of each image.

    Args:
        proposals: L tensors (N, A_i, 4), XYXY in pixels.
        pred_objectness_logits: L tensors (N, A_i).
        image_sizes: N pairs (height, width).
        nms_thresh: IoU from which on the worse of two boxes of one level goes.
        pre_nms_topk: how many boxes of each level and image enter the suppression.
        post_nms_topk: how many boxes of each image remain, all levels together.
        min_box_size: sides must be longer, in pixels.
        training: then a box or score that is not finite is an error; else it is dropped.

    Returns:
        N Instances with ``proposal_boxes`` and ``objectness_logits``, best first.

    Raises:
        FloatingPointError: in training, if a box or score is not finite.
    """
    per_level = []
    for level, (boxes, logits) in enumerate(zip(proposals, pred_objectness_logits)):
        best, where = logits.topk(min(int(pre_nms_topk), logits.shape[1]), dim=1)
        boxes = boxes.gather(1, where[..., None].expand(-1, -1, boxes.shape[-1]))
        per_level.append((boxes, best, torch.full_like(where, level)))
    boxes, logits, levels = (torch.cat(parts, dim=1) for parts in zip(*per_level))
    finite = boxes.isfinite().all(dim=-1) & logits.isfinite()
    if training and not finite.all():
        raise FloatingPointError(
            f"{int((~finite).sum())} of {finite.numel()} boxes or scores of the RPN are Inf or "
            "NaN: training has diverged. Lower the learning rate or lengthen the warm-up."
        )
    return [
        _proposals_of_image(b[ok], s[ok], lv[ok], size, nms_thresh, min_box_size)[:post_nms_topk]
        for b, s, lv, ok, size in zip(boxes, logits, levels, finite, image_sizes)
    ]


def add_ground_truth_to_proposals(
    gt: Sequence[Instances] | Sequence[Boxes], proposals: Sequence[Instances]
) -> list[Instances]:
    """Append each image's ground truth to its proposals.

    So that there is something to learn from even while the RPN finds nothing. If the proposals
    have fields other than boxes and logits, the ground truth must have them too.
    """
    assert len(gt) == len(proposals), f"{len(gt)} images with truth, {len(proposals)} without."
    extended = []
    for truth, found in zip(gt, proposals):
        fields = {} if isinstance(truth, Boxes) else dict(truth.get_fields())
        fields["proposal_boxes"] = truth if isinstance(truth, Boxes) else truth.gt_boxes
        fields["objectness_logits"] = found.proposal_boxes.tensor.new_full((len(truth),), GT_LOGIT)
        truth = Instances(found.image_size, **fields)
        extended.append(Instances.cat([found, truth]))
    return extended
