"""Random choice of examples for a loss."""

import torch


def subsample_labels(labels, num_samples, positive_fraction, bg_label) -> tuple[torch.Tensor, ...]:
    """Choose up to ``num_samples`` of N labels: random indices of positives and of negatives.

    ``bg_label`` is negative, -1 ignored, the rest positive: at most ``positive_fraction`` of them.
    """
    negative = labels == bg_label
    chosen = []
    quota = int(num_samples * positive_fraction)
    for pool in (~negative & (labels != -1), negative):
        candidates = pool.nonzero()[:, 0]
        order = torch.randperm(len(candidates), device=candidates.device)
        chosen.append(candidates[order[:quota]])
        quota = num_samples - len(chosen[0])
    return tuple(chosen)
