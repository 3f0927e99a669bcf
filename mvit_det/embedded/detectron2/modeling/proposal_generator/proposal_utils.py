"""Selection of the proposals of an RPN, and addition of ground truth.

Legend: L levels, N images, A_i boxes of level i.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from detectron2.structures import Boxes, Instances
from detectron2.structures.whole_batch import BatchSizes, is_exporting

from ..selection import nms_and_best

# The logit of a ground truth box among the proposals: a probability of almost 1.
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
    """Return, per image, the best ``proposal_boxes`` with ``objectness_logits``, best first.

    Args:
        proposals: L tensors (N, A_i, 4) XYXY in pixels.
        pred_objectness_logits: L tensors (N, A_i).
        image_sizes: (height, width) of each image.
        nms_thresh: IoU threshold of the NMS within a level.
        pre_nms_topk: boxes of each level and image before NMS.
        post_nms_topk: boxes of each image after NMS.
        min_box_size: the least side in pixels.
        training: whether a box or logit that is not finite is an error; otherwise it is dropped.

    Raises:
        FloatingPointError: in training, a box or logit is not finite.
    """
    per_level = []
    for level, (boxes, logits) in enumerate(zip(proposals, pred_objectness_logits)):
        least = torch.sym_min if is_exporting() else min
        best, index = logits.topk(least(pre_nms_topk, logits.shape[1]), dim=1)
        boxes = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        per_level.append((boxes, best, torch.full_like(index, level)))
    boxes, logits, levels = (torch.cat(parts, dim=1) for parts in zip(*per_level))
    finite = boxes.isfinite().all(dim=-1) & logits.isfinite()
    if training and not finite.all():
        raise FloatingPointError(
            f"{int((~finite).sum())} of {finite.numel()} boxes or scores of the RPN are Inf or "
            "NaN: training has diverged. Lower the learning rate or lengthen the warm-up."
        )
    if is_exporting():  # one entry for all images
        image = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand_as(levels)
        rows: Any = image_sizes  # a tensor
        sizes: Any = BatchSizes(rows, image.flatten())
        boxes, logits, levels, finite = (
            x.flatten(0, 1)[None] for x in (boxes, logits, levels, finite)
        )
        image_sizes = [sizes]
    results = []
    for i, (size, ok) in enumerate(zip(image_sizes, finite)):
        size = size[ok] if isinstance(size, BatchSizes) else size
        result = Instances(size, proposal_boxes=Boxes(boxes[i, ok]), level=levels[i, ok])
        result.objectness_logits = logits[i, ok]
        result.proposal_boxes.clip(size)
        result = result[result.proposal_boxes.nonempty(threshold=min_box_size)]
        candidates = result.proposal_boxes.tensor, result.objectness_logits, result.level
        result.remove("level")
        choice = (nms_thresh, post_nms_topk, result.image_size, len(proposals))
        keep = nms_and_best(*candidates, *choice)  # type: ignore[arg-type]  # fields are not typed
        results.append(result[keep])
    return results


def add_ground_truth_to_proposals(
    gt: Sequence[Instances], proposals: Sequence[Instances]
) -> list[Instances]:
    """Append the ground truth of each image to its proposals.

    The heads then have positive examples even while the RPN detects nothing.
    """
    extended = []
    for truth, candidates in zip(gt, proposals):
        extra = Instances(candidates.image_size, proposal_boxes=truth.gt_boxes)
        extra.objectness_logits = truth.gt_boxes.tensor.new_full((len(truth),), GT_LOGIT)
        extended.append(Instances.cat([candidates, extra]))
    return extended
