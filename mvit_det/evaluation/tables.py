"""Tables for the log."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate


def percent_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Format a table as Markdown, floats (percentages) with two decimals."""
    return tabulate(rows, head, tablefmt="pipe", floatfmt=".2f")


def class_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Format one row per class; more than 10 classes in two columns, to keep the table short."""
    side = 2 if len(rows) > 10 else 1
    height = -(-len(rows) // side)
    lines = [[value for row in rows[i::height] for value in row] for i in range(height)]
    return percent_table([*head] * side, lines)
