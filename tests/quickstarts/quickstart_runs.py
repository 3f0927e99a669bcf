"""What the tests of the video quickstarts have in common."""

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


def check_arrangements(seen: Mapping[str, np.ndarray], plain: np.ndarray) -> None:
    """The frame numbers of each arrangement of a clip's frames, against those of the clip."""
    assert np.array_equal(seen["as they are"], plain)
    assert np.array_equal(seen["backwards"], plain[::-1])
    assert not np.array_equal(seen["shuffled"], plain)
    assert np.array_equal(np.sort(seen["shuffled"]), plain)
    (one,) = set(seen["one of them, repeated"].tolist())
    assert one in plain
