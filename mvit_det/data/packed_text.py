"""Millions of strings in two arrays, whose memory forked worker processes share."""

from collections.abc import Iterable, Sequence

import numpy as np


class PackedText(Sequence[str]):
    """Sequence of N strings in two arrays.

    A list of strings would be copied into each worker process as reference counts change, and
    takes five times the memory for 14 million strings.

    Args:
        text: uint8 (bytes,), all strings in UTF-8, one after the other.
        ends: int64 (N,), the end of each string in ``text``.
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray):
        self.text = text
        self.ends = ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> "PackedText":
        """Pack strings as UTF-8; file names that are not valid UTF-8 are kept (surrogateescape)."""
        encoded = [string.encode("utf-8", "surrogateescape") for string in strings]
        ends = np.cumsum([len(item) for item in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    @classmethod
    def joined(cls, parts: Sequence["PackedText"]) -> "PackedText":
        """Concatenate the strings of all parts, in order."""
        starts = np.cumsum([0] + [len(part.text) for part in parts])
        ends = [part.ends + start for part, start in zip(parts, starts)]
        return cls(np.concatenate([part.text for part in parts]), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # no slices
        index = range(len(self))[index]
        start = self.ends[index - 1] if index else 0
        return self.text[start : self.ends[index]].tobytes().decode("utf-8", "surrogateescape")
