"""Experiments that train: their modules, which import much, are imported when they run."""

from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from rows import Experiment

MODULES = {
    "motion": "whether the video quickstarts learn motion: rearranged frames",
    "pretraining": "the gain of pre-training for the quickstart",
    "memory": "memory of a training step by what is recomputed, next to Detectron2's",
    "capacity": "largest batch and input of GPUs of 16 to 80 GB, by counted bytes",
    "limit": "how far our networks are from what the processor can do",
    "growth": "growth of time and memory with pixels, frames and boxes",
}


def rows() -> Iterator[Experiment]:
    """Yield the experiments."""
    for name, what in MODULES.items():
        yield Experiment(name, what, partial(_run, name))


def _run(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    return import_module(f"rows.{name}").main(arguments)
