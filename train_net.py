#!/usr/bin/env python
"""Train or evaluate any config of this project: see README.md."""

import sys
from pathlib import Path

from mvit_det.train import argument_parser, main, run_command, setup

__all__ = ["argument_parser", "main", "run_command", "setup"]

if __name__ == "__main__":
    run_command(sys.argv[1:], Path(__file__).name)
