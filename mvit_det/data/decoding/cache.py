"""Cache in memory for file indices that are costly to build."""

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class RecentlyUsed(Generic[Value]):
    """Cache of the most recently used values, limited by the sum of their weights.

    The newest value is kept even if its weight alone is above the limit.
    """

    def __init__(self) -> None:
        # A running sum: adding up thousands of weights would take as long as reading a file.
        self.weight = 0
        self._values: OrderedDict[tuple, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: tuple) -> Value | None:
        """Return the value of a key and mark it as used; None if it is not kept."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def add(self, key: tuple, value: Value, weight: int, limit: int) -> None:
        """Keep a value; drop the least recently used ones while the sum is above ``limit``."""
        self._values[key] = (value, weight)
        self.weight += weight
        while self.weight > limit and len(self._values) > 1:
            self.weight -= self._values.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Drop all values."""
        self._values.clear()
        self.weight = 0
