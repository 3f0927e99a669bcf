"""Select examples for pictures, independent of the order of inputs and the number of processes."""

from collections.abc import Iterable
from typing import TypeVar

Example = TypeVar("Example", bound=tuple)


def lowest_keys(examples: Iterable[Example], count: int, fields: int) -> list[Example]:
    """Return at most ``count`` examples of the lowest keys, sorted, without duplicates.

    Args:
        examples: named tuples whose first field is the key, a number, in any order.
        count: maximum number to return.
        fields: number of leading fields that sort the examples: the key, and what identifies one.
    """
    lowest: dict[tuple, Example] = {}
    for example in sorted(examples, key=lambda example: example[:fields]):
        lowest.setdefault(example[1:fields], example)
    return list(lowest.values())[:count]
