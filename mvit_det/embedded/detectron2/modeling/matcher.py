"""Assignment of ground truth to candidate boxes."""

import torch


class Matcher:
    """Assign to each prediction the best ground truth, and a label by the quality of the match.

    ``thresholds`` cut the range of qualities into intervals closed below, each with a label: 1
    positive, 0 negative, -1 ignored. With ``allow_low_quality_matches`` the best predictions of
    each ground truth are positive at any quality (Ren et al., Faster R-CNN, 2015, section 3.1.2).

    Raises:
        AssertionError: thresholds that do not rise, or labels that do not fit.
    """

    def __init__(
        self, thresholds: list[float], labels: list[int], allow_low_quality_matches: bool = False
    ):
        assert list(thresholds) == sorted(thresholds), f"Thresholds must rise, got {thresholds}."
        assert len(labels) == len(thresholds) + 1, f"{labels} must be one more than {thresholds}."
        assert set(labels) <= {-1, 0, 1}, f"Labels must be -1, 0 or 1, got {labels}."
        self.thresholds = list(thresholds)
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map qualities (M ground truths, N predictions), such as IoU, to indices and labels (N,).

        Without ground truth they are 0 and the label of the lowest interval.
        """
        quality = match_quality_matrix
        if quality.numel() == 0:
            matches = quality.new_zeros(quality.shape[1], dtype=torch.int64)
            return matches, torch.full_like(matches, self.labels[0], dtype=torch.int8)
        best, matches = quality.max(dim=0)
        cuts = torch.tensor(self.thresholds, dtype=best.dtype, device=best.device)
        labels = torch.tensor(self.labels, dtype=torch.int8, device=best.device)
        labels = labels[torch.bucketize(best, cuts, right=True)]
        if self.allow_low_quality_matches:
            is_best = quality == quality.amax(dim=1, keepdim=True)
            labels.masked_fill_(is_best.any(dim=0), 1)
        return matches, labels
