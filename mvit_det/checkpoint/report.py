"""List many tensor names in few lines."""

import re
from collections.abc import Mapping
from itertools import chain, groupby


def format_notes(notes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Format title -> (name -> note) as lines: a title with the number of names, then the names."""
    lines = []
    for title, named in notes.items():
        lines += [f"{title} {len(named)}:", *format_names(named)] if named else []
    return lines


def format_names(notes: Mapping[str, str]) -> list[str]:
    """Format name -> note as lines ``names: note``; names that differ in one part share a line.

    ``blocks.0.attn.rel_pos_h`` and ``blocks.1.attn.rel_pos_h`` with the same note become
    ``blocks.{0,1}.attn.rel_pos_h``; runs of three or more numbers become ``{0..15}``. All names of
    a note share one line if they fit on it.
    """
    by_note: dict[str, list[str]] = {}
    for name, note in notes.items():
        by_note.setdefault(note, []).append(name)
    lines = []
    for note, names in by_note.items():
        merged = merge_names(names)
        together = ", ".join(merged)
        lines += [f"  {each}: {note}" for each in ([together] if len(together) <= 100 else merged)]
    return lines


def merge_names(names: list[str]) -> list[str]:
    """Merge names that differ in one dotted part into one with braces.

    ``["a.0.b", "a.1.b"]`` becomes ``["a.{0,1}.b"]``.
    """
    parts = [tuple(name.split(".")) for name in names]
    # the last part first: weight and bias belong together more closely than blocks do
    for position in range(1, max(map(len, parts), default=0) + 1):
        merged: dict[tuple, list[str]] = {}
        for part in parts:
            index = len(part) - position
            rest = part if index < 0 else (*part[:index], None, *part[index + 1 :])
            merged.setdefault(rest, []).append("" if index < 0 else part[index])
        parts = [
            tuple(_brace(list(dict.fromkeys(values))) if part is None else part for part in rest)
            for rest, values in merged.items()
        ]
    return [".".join(part) for part in parts]


def _brace(values: list[str]) -> str:
    if len(values) == 1:
        return values[0]
    if all(re.fullmatch(r"\d{1,9}", value) for value in values):
        numbers = sorted(map(int, values))
        # within a run of consecutive numbers, number minus index is constant
        runs = [
            [n for _, n in run] for _, run in groupby(enumerate(numbers), lambda p: p[1] - p[0])
        ]
        shortened = [run if len(run) < 3 else [f"{run[0]}..{run[-1]}"] for run in runs]
        values = [str(item) for item in chain.from_iterable(shortened)]
    return "{" + ",".join(values) + "}"
