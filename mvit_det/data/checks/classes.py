"""Checks of the number of samples of each class in both splits."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mvit_det.data.checks.findings import Finding
from mvit_det.errors import shorten_list

# Ratio of the largest and the smallest class that is worth a note.
_IMBALANCE = 10


def class_counts(dataset: Any) -> dict[str, int]:
    """Return the number of samples of each class of a data set; {} if it does not know them."""
    names, labels = getattr(dataset, "class_names", []), getattr(dataset, "labels", [])
    counts = np.bincount(np.asarray(labels, int), minlength=len(names)).tolist()
    return dict(zip(names, counts))


def class_findings(
    trained: Mapping[str, int], tested: Mapping[str, int], unit: str
) -> Iterator[Finding]:
    """Yield classes that occur in one split only, and an imbalance of the training data.

    Args:
        trained: number of samples of each class in the training data, which may be 0.
        tested: the same of the test data.
        unit: what a sample is, in the plural: "videos".
    """
    trained, tested = ({k: v for k, v in part.items() if v} for part in (trained, tested))
    for name in sorted(tested.keys() - trained.keys()):
        yield Finding(
            "warning",
            "class in one split",
            f"the class {name!r} has {tested[name]} {unit} to test on and none to train on: add "
            "some, or take it out",
            ids={"class": name},
        )
    for name in sorted(trained.keys() - tested.keys()):
        yield Finding(
            "warning",
            "class in one split",
            f"the class {name!r} has {trained[name]} {unit} to train on and none to test on, so "
            "that the metrics leave it out: add some",
            ids={"class": name},
        )
    few, many = (pick(trained, key=trained.__getitem__, default="") for pick in (min, max))
    if few and trained[many] >= _IMBALANCE * trained[few]:
        rare = [name for name, count in trained.items() if trained[many] >= _IMBALANCE * count]
        yield Finding(
            "note",
            "samples per class",
            f"{len(rare)} classes have less than a tenth of the {trained[many]} {unit} of "
            f"{many!r}, down to {trained[few]} of {few!r} ({shorten_list(rare)}): add some, or "
            "expect them to be found rarely",
        )
