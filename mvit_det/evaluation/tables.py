"""Tables in the log."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate


def in_percent(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with two digits behind the point."""
    return tabulate(rows, head, tablefmt="pipe", floatfmt=".2f")


def class_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A row for each class; of many classes two side by side, to keep it short."""
    side = 2 if len(rows) > 10 else 1
    height = -(-len(rows) // side)
    lines = [[value for row in rows[i::height] for value in row] for i in range(height)]
    return in_percent([*head] * side, lines)
