"""Random choice of examples for a loss."""

import torch

from detectron2.layers import nonzero_tuple


def subsample_labels(
    labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose positives and negatives without repetition.

    Args:
        labels: (N,) ints; ``bg_label`` is negative, -1 is ignored, anything else is positive.
        num_samples: how many in all, as far as there are as many.
        positive_fraction: at most this share of ``num_samples`` is positive; negatives fill up.

    Returns: indices of the positives and of the negatives, each in random order.
    """
    negative = labels == bg_label
    positive = ~negative & (labels != -1)
    chosen = []
    quota = int(num_samples * positive_fraction)
    for pool in (positive, negative):
        (candidates,) = nonzero_tuple(pool)
        order = torch.randperm(len(candidates), device=candidates.device)
        chosen.append(candidates[order[: max(quota, 0)]])
        quota = num_samples - len(chosen[0])
    return chosen[0], chosen[1]
