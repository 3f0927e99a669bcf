"""Soft-NMS (Bodla et al., ICCV 2017): a box that overlaps a better one is rescored, not removed.

Legend: N candidates of one image, M of them selected.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from mvit_det.errors import check_choice, check_positive, check_share

MIN_CANDIDATES = 1000  # the best so many are examined first


@dataclass(frozen=True)
class SoftNMS:
    """Settings of Soft-NMS; calling an instance selects from the candidates of one image.

    The best box is picked repeatedly; each pick lowers the other scores of its class (Fig. 2). With
    ``o`` the IoU of a box with the pick, its score s becomes

    * linear (Eq. 2 of that paper): ``s * (1 - o)`` if ``o >= overlap_threshold``, else ``s``;
    * gaussian (Eq. 3): ``s * exp(-o**2 / sigma)``.

    Boxes without area overlap nothing. Of equal scores, the lower index comes first. Scores that
    are not finite count as 0. The MViTv2 paper states no settings; the defaults are those of most
    implementations.

    Attributes:
        method: ``"linear"`` or ``"gaussian"``: how the score falls with the overlap.
        sigma: width of the gaussian, positive.
        overlap_threshold: the IoU from which the linear method acts, 0 to 1.
        prune_score: boxes whose score is or falls below it, or to 0, are dropped; 0 to 1.
        score_threshold: boxes with a higher class probability are candidates. It should be far
            below the 0.05 of plain NMS, since boxes that plain NMS removes still count here.

    Raises:
        UserError: a value is out of its range.
    """

    method: str = "linear"
    sigma: float = 0.5
    overlap_threshold: float = 0.5
    prune_score: float = 1e-3
    score_threshold: float = 1e-3

    def __post_init__(self) -> None:
        check_choice("Soft-NMS", ("linear", "gaussian"), method=self.method)
        check_positive("Soft-NMS", sigma=self.sigma)
        check_share(
            "Soft-NMS",
            overlap_threshold=self.overlap_threshold,
            prune_score=self.prune_score,
            score_threshold=self.score_threshold,
        )

    def __call__(self, candidates: Instances, top_k: int = -1) -> Instances:
        """Select the detections of one image.

        Args:
            candidates: N with ``pred_boxes``, ``scores`` and ``pred_classes``, see ``choose``.
            top_k: largest M; negative for no limit.

        Returns:
            M of the candidates with all their fields and decayed scores, best first.
        """
        boxes, scores = candidates.pred_boxes.tensor, candidates.scores
        indices, decayed = self.choose(boxes, scores, candidates.pred_classes, top_k)
        selected = candidates[indices]
        selected.set("scores", decayed)
        return selected

    @torch.no_grad()
    def choose(
        self, boxes: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, top_k: int = -1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Select the best boxes of one image.

        Args:
            boxes: (N, 4) XYXY in pixels.
            scores: (N,) probabilities, 0 to 1, any floating type.
            classes: (N,) class indices, integers.
            top_k: largest M; negative for no limit.

        Returns:
            ``indices`` (M,) into the input, and the decayed ``scores`` (M,), descending.
        """
        finite = torch.where(scores.isfinite(), scores, 0)
        prune_score = max(self.prune_score, torch.finfo(scores.dtype).tiny)
        limit = len(scores) if top_k < 0 else top_k
        # Scores never rise. So if all picks among the best candidates score at least as much as any
        # other candidate did at the start, the others cannot come before them.
        count = max(10 * limit, MIN_CANDIDATES)
        while True:
            floor = prune_score
            if count < len(scores):
                floor = max(floor, finite.topk(count).values[-1].item())
            rows = (finite >= floor).nonzero()[:, 0]
            arrays = [_to_numpy(values[rows]) for values in (boxes, scores, classes)]
            picks, decayed = self._pick_boxes(*arrays, prune_score=prune_score, limit=limit)
            if floor == prune_score or (len(picks) == limit and (decayed[-1:] >= floor).all()):
                break
            count *= 8
        return rows[torch.from_numpy(picks).to(rows.device)], torch.from_numpy(decayed).to(scores)

    @np.errstate(over="ignore", invalid="ignore")  # areas may exceed the largest float
    def _pick_boxes(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        *,
        prune_score: float,
        limit: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run `choose` on arrays; return indices and decayed scores of at most ``limit`` picks."""
        # Geometry is sorted by class, so that a pick touches one slice; scores keep their order, so
        # that the first maximum is the one of lowest index.
        order = classes.argsort()
        row = np.empty_like(order)  # of each box in the sorted geometry
        row[order] = np.arange(len(order))
        starts, ends = (
            np.searchsorted(classes[order], classes, side) for side in ("left", "right")
        )
        lower, upper = boxes[order, :2].T.copy(), boxes[order, 2:].T.copy()  # (2, N): x and y
        widths, heights = (upper - lower).clip(min=0)
        areas = widths * heights

        scores = scores.copy()
        picks: list[np.intp] = []
        decayed: list[np.floating] = []
        while len(picks) < min(limit, len(scores)):
            best = scores.argmax()
            if scores[best] < prune_score:
                break  # all remaining scores are lower still
            picks.append(best)
            decayed.append(scores[best])
            at, same = row[best], slice(starts[best], ends[best])  # rows of the pick, of its class
            begin = np.maximum(lower[:, same], lower[:, at, None])
            end = np.minimum(upper[:, same], upper[:, at, None])
            width, height = (end - begin).clip(min=0)
            overlap = width * height
            union = areas[same] + areas[at] - overlap
            iou = np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)
            if self.method == "gaussian":
                scores[order[same]] *= np.exp(-(iou * iou) / self.sigma)
            else:
                scores[order[same]] *= np.where(iou >= self.overlap_threshold, 1 - iou, 1)
            scores[best] = 0  # never picked again
        return np.array(picks, dtype=np.int64), np.array(decayed, dtype=scores.dtype)


def soft_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    *,
    top_k: int = -1,
    **settings: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the best boxes of one image by Soft-NMS.

    Args:
        boxes: (N, 4) XYXY in pixels.
        scores: (N,) probabilities, 0 to 1.
        classes: (N,) class indices, integers.
        top_k: largest number M of boxes; negative for no limit.
        **settings: attributes of `SoftNMS`.

    Returns:
        Indices (M,) into the input, and decayed scores (M,), descending.

    Raises:
        UserError: a setting is out of its range.
    """
    return SoftNMS(**settings).choose(boxes, scores, classes, top_k)


def _to_numpy(values: torch.Tensor) -> np.ndarray:
    """Move to the CPU, where a pick takes as long as one GPU kernel launch; at least float32."""
    half = values.dtype in (torch.float16, torch.bfloat16)
    return (values.float() if half else values).cpu().numpy()
