"""What was costly to learn about files, kept in memory as long as there is room."""

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class RecentlyUsed(Generic[Value]):
    """Values by key, those asked for last, up to a total weight; the newest stays however heavy."""

    def __init__(self) -> None:
        # Weights are counted along: to add up thousands would take as long as reading a file.
        self.weight = 0
        self._values: OrderedDict[tuple, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: tuple) -> Value | None:
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def add(self, key: tuple, value: Value, weight: int, limit: int) -> None:
        """Keep a value, and give up the oldest while all together weigh more than ``limit``."""
        self._values[key] = (value, weight)
        self.weight += weight
        while self.weight > limit and len(self._values) > 1:
            self.weight -= self._values.popitem(last=False)[1][1]

    def clear(self) -> None:
        self._values.clear()
        self.weight = 0
