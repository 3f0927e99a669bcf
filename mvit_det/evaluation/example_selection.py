"""Select examples for pictures, independent of the order of inputs and the number of processes."""

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeVar


class _Keyed(Protocol):
    @property
    def key(self) -> float: ...


Example = TypeVar("Example", bound=_Keyed)


def lowest_keys(
    examples: Iterable[Example], count: int, identity: Callable[[Example], Hashable]
) -> list[Example]:
    """Return at most ``count`` examples of the lowest ``key``, sorted, one per identity.

    Args:
        examples: in any order.
        count: maximum number to return.
        identity: returns what distinguishes examples, and orders those of equal keys.
    """
    lowest: dict[Hashable, Example] = {}
    for example in sorted(examples, key=lambda example: (example.key, identity(example))):
        lowest.setdefault(identity(example), example)
    return list(lowest.values())[:count]
