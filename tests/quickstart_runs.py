"""A quickstart, cut short."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import train_net  # noqa: E402


def two_iterations(config: str, overrides: list[str], folder: Path) -> Path:
    """Train for two iterations, and test; the output is in ``folder``."""
    short = ["train.max_iter=2", "train.log_period=1", f"train.output_dir={folder}"]
    arguments = ["--config-file", config, *overrides, *short]
    train_net.main(train_net.argument_parser().parse_args(arguments))
    return folder
