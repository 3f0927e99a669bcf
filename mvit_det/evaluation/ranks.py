"""Ranks within groups of a sorted table."""

import numpy as np


def rank_in_group(group: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal numbers."""
    index = np.arange(len(group))
    starts = np.ones(len(group), bool)
    starts[1:] = group[1:] != group[:-1]
    return index - np.maximum.accumulate(np.where(starts, index, 0))
