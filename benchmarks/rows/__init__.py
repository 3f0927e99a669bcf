"""The rows of `compare.py`: what is measured, ours and the peer's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """How a row is run: dtype of autocast, threads, device, and whether by torch.compile."""

    precision: str = "float32"
    threads: int = 1
    device: str = "cpu"
    compiled: bool = False


@dataclass(frozen=True)
class Row:
    """A comparison.

    Attributes:
        name: on the command line.
        what: description.
        peer: name of the other side.
        module: importable if the peer is installed.
        build: for "ours" or "peer", and `Options`, returns the function that is measured. If it
            works in a process that it starts, it returns "seconds", and "peak" in bytes.
        precisions: whether there are other precisions than float32.
    """

    name: str
    what: str
    peer: str
    module: str
    build: Callable[[str, Options], Callable[[], Any]]
    precisions: bool = True


def all_rows() -> dict[str, Row]:
    """Return all rows by name."""
    from rows import networks, start

    return {row.name: row for module in (networks, start) for row in module.rows()}
