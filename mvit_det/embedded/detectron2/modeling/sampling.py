"""Random sampling of the examples of a loss."""

import torch


def subsample_labels(labels, num_samples, positive_fraction, bg_label) -> tuple[torch.Tensor, ...]:
    """Sample up to ``num_samples`` of N labels; return indices of positives and of negatives.

    ``bg_label`` is negative, -1 ignored, the rest positive; at most ``positive_fraction`` of the
    samples are positive.
    """
    negative = labels == bg_label
    sampled: list[torch.Tensor] = []
    quota = int(num_samples * positive_fraction)
    for pool in (~negative & (labels != -1), negative):
        candidates = pool.nonzero()[:, 0]
        order = torch.randperm(len(candidates), device=candidates.device)
        sampled.append(candidates[order[:quota]])
        quota = num_samples - len(sampled[0])
    return tuple(sampled)
