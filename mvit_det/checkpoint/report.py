"""Many tensor names in few lines."""

import re
from collections.abc import Mapping


def grouped(notes: Mapping[str, str]) -> list[str]:
    """Lines ``names: note``, where names that differ in one part alone share a line.

    ``blocks.0.attn.rel_pos_h`` and ``blocks.1.attn.rel_pos_h`` with one note become
    ``blocks.{0,1}.attn.rel_pos_h``; runs of three and more numbers become ``{0..15}``.
    """
    by_note: dict[str, list[str]] = {}
    for name, note in notes.items():
        by_note.setdefault(note, []).append(name)
    lines = []
    for note, names in by_note.items():
        lines += [f"  {name}: {note}" for name in condensed(names)]
    return lines


def condensed(names: list[str]) -> list[str]:
    """The same names, those that differ in one part alone written as one."""
    parts = [name.split(".") for name in names]
    # the last part first: weight and bias belong together more than blocks do
    longest = max(map(len, parts), default=0)
    for position in range(1, longest + 1):
        merged: dict[tuple, list[str]] = {}
        for part in parts:
            if len(part) < position:
                key, value = (tuple(part), None), ""
            else:
                rest = (*part[:-position], "", *part[len(part) - position + 1 :])
                key, value = (rest, position), part[-position]
            merged.setdefault(key, []).append(value)
        parts = []
        for (rest, place), values in merged.items():
            if place is None:
                parts.append(list(rest))
            else:
                rest = list(rest)
                rest[-place] = _set_of(list(dict.fromkeys(values)))
                parts.append(rest)
    return [".".join(part) for part in parts]


def _set_of(values: list[str]) -> str:
    if len(values) == 1:
        return values[0]
    if not all(re.fullmatch(r"\d+", value) for value in values):
        return "{" + ",".join(values) + "}"
    numbers, runs = sorted(map(int, values)), []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    spelled = [f"{run[0]}..{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return "{" + ",".join(spelled) + "}"
