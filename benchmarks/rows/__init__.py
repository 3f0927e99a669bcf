"""The rows of `compare.py`: what is measured, ours and the peer's.

Each module in `MODULES` has a function ``rows`` that yields rows and experiments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

# in the order of the table
MODULES = (
    *("networks", "detectors", "exports", "soft_nms", "coco", "ava", "decoding", "loading"),
    *("start", "experiments"),
)


@dataclass(frozen=True)
class Options:
    """How a row is run: dtype of autocast, threads, device, and whether by torch.compile.

    Attributes:
        quick: tiny sizes, which try the code and measure nothing.
        folder: of the files that `Row.prepare` has written.
        ava_official: folder of the official scorer of AVA.
        videos: files to decode instead of generated ones.
    """

    precision: str = "float32"
    threads: int = 1
    device: str = "cpu"
    compiled: bool = False
    quick: bool = False
    folder: str = ""
    ava_official: str = ""
    videos: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """A comparison.

    Attributes:
        name: on the command line.
        what: description.
        peer: name of the other side.
        module: importable if the peer is installed.
        build: for "ours" or "peer", and `Options`, returns the function that is measured. What that
            returns (tensors, arrays, lists and dicts of them) is compared between both sides; a
            dict of "seconds" and "peak" in bytes takes the place of the runner's own measurement.
        precisions: whether it is of networks, which run in other precisions than float32, by
            torch.compile, and on other devices than the CPU.
        prepare: writes the files that both sides read to ``options.folder``, in a process of its
            own with the embedded host, which export needs.
        anywhere: without precisions, but on other devices than the CPU.
        named: run only when it is named.
        needs: the attribute of `Options` without which it is left out.
        packages: without which it is left out, besides the peer.
    """

    name: str
    what: str
    peer: str
    module: str
    build: Callable[[str, Options], Callable[[], Any]]
    precisions: bool = True
    prepare: Callable[[Options], None] | None = None
    anywhere: bool = False
    named: bool = False
    needs: str = ""
    packages: Sequence[str] = ()


@dataclass(frozen=True)
class Experiment:
    """Something else than a comparison of times, which is run only when it is named.

    Attributes:
        name: on the command line, before its own arguments.
        what: description.
        run: from its own arguments, measures, prints a table and returns its figures.
    """

    name: str
    what: str
    run: Callable[[Sequence[str]], dict[str, Any]]


def all_rows() -> dict[str, Row | Experiment]:
    """Return all rows and experiments by name."""
    modules = (import_module(f"rows.{name}") for name in MODULES)
    return {row.name: row for module in modules for row in module.rows()}
