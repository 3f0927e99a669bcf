"""Shared by all tests: chooses the host before anything imports detectron2."""

import os
import sys
from pathlib import Path

import mvit_det  # noqa: F401  makes `import detectron2` work: must come first

# Small models on many short tests: threads cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "2")

ROOT = Path(__file__).resolve().parent.parent
# `parity` (tests/embedded/parity.py) is imported by name.
sys.path.insert(0, str(Path(__file__).resolve().parent / "embedded"))
