"""Shared by the tests of the video quickstarts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import train_net  # noqa: E402


def two_iterations(config: str, overrides: list[str], folder: Path) -> Path:
    """Train for two iterations, and test; the output is in ``folder``."""
    short = ["train.max_iter=2", "train.log_period=1", f"train.output_dir={folder}"]
    arguments = ["--config-file", config, *overrides, *short]
    train_net.main(train_net.argument_parser().parse_args(arguments))
    return folder


def check_arrangements(indices: Mapping[str, np.ndarray], plain: np.ndarray) -> None:
    """Compare the frame indices of each arrangement of a clip with those of the clip."""
    assert np.array_equal(indices["unchanged"], plain)
    assert np.array_equal(indices["backwards"], plain[::-1])
    assert not np.array_equal(indices["shuffled"], plain)
    assert np.array_equal(np.sort(indices["shuffled"]), plain)
    (repeated,) = set(indices["one frame, repeated"].tolist())
    assert repeated in plain
