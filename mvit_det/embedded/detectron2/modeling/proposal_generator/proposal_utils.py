"""Choosing among the boxes of an RPN, and adding ground truth to them.

Legend: L levels, N images, A_i boxes of level i.
"""

import math
from collections.abc import Sequence

import torch

from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances

# The logit of a ground truth box that is added to the proposals: all but certain.
GT_LOGIT = math.log((1.0 - 1e-10) / (1 - (1.0 - 1e-10)))


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
    """Return per image the ``proposal_boxes`` and ``objectness_logits`` that are best, best first.

    Of L tensors (N, A_i, 4) XYXY and (N, A_i), the ``pre_nms_topk`` of each level and image enter
    NMS by level; ``post_nms_topk`` of each image remain. A box or logit that is not finite is an
    error in ``training``; else it is dropped.
    """
    per_level = []
    for level, (boxes, logits) in enumerate(zip(proposals, pred_objectness_logits)):
        best, where = logits.topk(min(pre_nms_topk, logits.shape[1]), dim=1)
        boxes = boxes.gather(1, where[..., None].expand(-1, -1, 4))
        per_level.append((boxes, best, torch.full_like(where, level)))
    boxes, logits, levels = (torch.cat(parts, dim=1) for parts in zip(*per_level))
    finite = boxes.isfinite().all(dim=-1) & logits.isfinite()
    if training and not finite.all():
        raise FloatingPointError(
            f"{int((~finite).sum())} of {finite.numel()} boxes or scores of the RPN are Inf or "
            "NaN: training has diverged. Lower the learning rate or lengthen the warm-up."
        )
    results = []
    for i, (size, ok) in enumerate(zip(image_sizes, finite)):
        found = Instances(size, proposal_boxes=Boxes(boxes[i, ok]), level=levels[i, ok])
        found.objectness_logits = logits[i, ok]
        found.proposal_boxes.clip(size)
        found = found[found.proposal_boxes.nonempty(threshold=min_box_size)]
        candidates = found.proposal_boxes.tensor, found.objectness_logits, found.level
        found.remove("level")
        results.append(found[batched_nms(*candidates, nms_thresh)[:post_nms_topk]])
    return results


def add_ground_truth_to_proposals(
    gt: Sequence[Instances], proposals: Sequence[Instances]
) -> list[Instances]:
    """Append each image's ground truth to its proposals, which have boxes and logits.

    So there is something to learn from even while the RPN finds nothing.
    """
    extended = []
    for truth, found in zip(gt, proposals):
        extra = Instances(found.image_size, proposal_boxes=truth.gt_boxes)
        extra.objectness_logits = truth.gt_boxes.tensor.new_full((len(truth),), GT_LOGIT)
        extended.append(Instances.cat([found, extra]))
    return extended
