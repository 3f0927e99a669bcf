"""Equal and similar files of training and validation data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mvit_det.data.checks.findings import FileReport, Finding
from mvit_det.data.checks.pictures import SimilarCheck, near_duplicate

# Bits in which the hashes of near-duplicates may differ. By the pigeonhole principle, two such
# hashes are equal in at least one of 6 groups of bits, so that few pairs are compared.
DISTANCE = 5
_GROUPS = [11, 11, 11, 11, 10, 10]
_BLOCK = 1 << 22  # pairs compared at a time
_WORDS = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


@dataclass
class Fingerprints:
    """Digests and hashes of the files of one split: 16 bytes and a path for each."""

    paths: list[str] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    hashed: list[int] = field(default_factory=list)  # indices of the files with a hash

    def add(self, path: str, report: FileReport) -> None:
        """Add a file, if it could be read."""
        if report.digest is None:
            return
        if report.hash is not None:
            self.hashed.append(len(self.paths))
            self.hashes.append(report.hash)
        self.paths.append(path)
        self.digests.append(report.digest)


def find_duplicates(
    train: Fingerprints, test: Fingerprints
) -> tuple[list[Finding], list[SimilarCheck]]:
    """Compare both splits.

    Returns:
        Findings for files of equal content; and the pairs of pictures that may be similar, for each
        picture for validation the most similar one for training.
    """
    known = dict(zip(reversed(train.digests), reversed(train.paths)))
    pairs = {
        path: known[digest] for path, digest in zip(test.paths, test.digests) if digest in known
    }
    findings = [
        near_duplicate(path, other, "it equals") for path, other in pairs.items() if path != other
    ]
    same = len(pairs) - len(findings)
    if same:
        message = (
            f"{same} of {len(test.paths)} files for validation are files for training, so that the "
            "metric says little about others: divide them"
        )
        findings.append(Finding("warning", "validation on training data", message))
    nearest: dict[str, tuple[int, str]] = {}
    for distance, first, second in _near(train.hashes, test.hashes):
        path, other = test.paths[test.hashed[second]], train.paths[train.hashed[first]]
        if path not in pairs and path != other:
            nearest[path] = min(nearest.get(path, (65, "")), (distance, other))
    return findings, [SimilarCheck(path, other) for path, (_, other) in nearest.items()]


def _near(train: Sequence[int], test: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (distance, index in ``train``, index in ``test``) of hashes of at most `DISTANCE`."""
    # pictures of one hash are compared once
    (first, first_at), (second, second_at) = (
        np.unique(np.array(hashes, np.uint64), return_index=True) for hashes in (train, test)
    )
    inverse = np.searchsorted(second, np.array(test, np.uint64))
    members: dict[int, list[int]] = {}
    for index, value in enumerate(inverse.tolist()):
        members.setdefault(value, []).append(index)
    shift = 0
    for bits in _GROUPS:
        keys = [
            (hashes >> np.uint64(shift)) & np.uint64((1 << bits) - 1) for hashes in (first, second)
        ]
        shift += bits
        order = np.argsort(keys[0], kind="stable")
        ordered = keys[0][order]
        starts, ends = (np.searchsorted(ordered, keys[1], side) for side in ("left", "right"))
        for distance, place, at in _compare(first, second, order, starts, ends):
            yield from ((distance, int(first_at[place]), index) for index in members[at])


def _compare(
    first: np.ndarray, second: np.ndarray, order: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> Iterator[tuple[int, int, int]]:
    """Compare each of ``second`` with those of ``first`` in ``order[start:end]``, in blocks."""
    sizes = np.maximum(ends - starts, 0)
    begin = 0
    while begin < len(second):
        total = np.cumsum(sizes[begin:])
        end = begin + max(1, int(np.searchsorted(total, _BLOCK, "right")))
        size = sizes[begin:end]
        at = np.repeat(np.arange(begin, end), size)
        within = np.arange(len(at)) - np.repeat(np.cumsum(size) - size, size)
        place = order[starts[at] + within]
        words = (first[place] ^ second[at]).view(np.uint16).reshape(-1, 4)
        distance = _WORDS[words].sum(axis=1, dtype=np.int64)
        near = np.flatnonzero(distance <= DISTANCE)
        yield from zip(distance[near].tolist(), place[near].tolist(), at[near].tolist())
        begin = end
