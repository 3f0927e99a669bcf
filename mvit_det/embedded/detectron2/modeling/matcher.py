"""Which ground truth each candidate box stands for."""

from typing import Sequence

import torch


class Matcher:
    """Gives each prediction its best ground truth, and a label by how good that is."""

    def __init__(
        self,
        thresholds: Sequence[float],
        labels: Sequence[int],
        allow_low_quality_matches: bool = False,
    ):
        """
        Args:
            thresholds: rising and positive; they cut the range of qualities into intervals, each
                closed below.
            labels: one per interval, so one more than thresholds: 1 positive, 0 negative,
                -1 ignored.
            allow_low_quality_matches: also label as 1 the predictions that are the best for some
                ground truth, however poor (Ren et al., Faster R-CNN, 2015, section 3.1.2).
        """
        cuts = list(thresholds)
        assert cuts and cuts[0] > 0, f"Thresholds must be positive, got {cuts}."
        assert cuts == sorted(cuts), f"Thresholds must rise, got {cuts}."
        assert len(labels) == len(cuts) + 1, f"{len(cuts)} thresholds need {len(cuts) + 1} labels."
        assert set(labels) <= {-1, 0, 1}, f"Labels must be -1, 0 or 1, got {labels}."
        self.thresholds = cuts
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Match by qualities (M ground truths, N predictions) that are not negative, such as IoU.

        Returns:
            (N,) int64: the index of the best ground truth; 0 if there is none.
            (N,) int8: labels; that of the lowest interval if there is no ground truth.
        """
        quality = match_quality_matrix
        assert quality.ndim == 2, f"Expected a matrix, got shape {tuple(quality.shape)}."
        if quality.numel() == 0:
            matches = quality.new_zeros(quality.shape[1], dtype=torch.int64)
            return matches, torch.full_like(matches, self.labels[0], dtype=torch.int8)
        assert (quality >= 0).all(), "Match qualities must be numbers that are not negative."
        best, matches = quality.max(dim=0)
        cuts = torch.tensor(self.thresholds, dtype=best.dtype, device=best.device)
        labels = torch.tensor(self.labels, dtype=torch.int8, device=best.device)
        labels = labels[torch.bucketize(best, cuts, right=True)]
        if self.allow_low_quality_matches:
            is_best_for_some = quality == quality.amax(dim=1, keepdim=True)
            labels.masked_fill_(is_best_for_some.any(dim=0), 1)
        return matches, labels
