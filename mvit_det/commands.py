"""Command lines in messages, as they can be repeated where this process was started."""

import sys
from pathlib import Path


def command(name: str) -> str:
    """Return the start of the command line ``name``, such as "train" or "predict".

    In a checkout it is the script or module; where the console command started this process, or
    the working directory has no train_net.py (an installed package), it is ``mvit-det NAME``.
    """
    if Path(sys.argv[0]).stem == "mvit-det" or not Path("train_net.py").is_file():
        return f"mvit-det {name}"
    return "python train_net.py" if name == "train" else f"python -m mvit_det.{name}"
