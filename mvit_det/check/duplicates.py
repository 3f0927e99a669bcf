"""Equal and similar files of training and validation data."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mvit_det.data.checks.findings import FileReport, Finding
from mvit_det.data.checks.pictures import SimilarCheck, near_duplicate

# Bits in which the hashes of near-duplicates may differ. By the pigeonhole principle, two such
# hashes are equal in at least one of 6 groups of bits, so that few pairs are compared.
DISTANCE = 5
_GROUPS = [11, 11, 11, 11, 10, 10]
# Drawings or pictures of documents may be alike in a group of bits: of as many that are, only
# the neighbours in the order of the remaining bits are compared.
_NEIGHBOURS = 512
_BLOCK = 1 << 22  # pairs compared at a time
_COUNTS = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


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
    checks = []
    for index, other in _nearest(train.hashes, test.hashes).items():
        path, similar = test.paths[test.hashed[index]], train.paths[train.hashed[other]]
        if path not in pairs and path != similar:
            checks.append(SimilarCheck(path, similar))
    return findings, checks


def _nearest(train: Sequence[int], test: Sequence[int]) -> dict[int, int]:
    """Return for each hash in ``test`` the nearest in ``train`` within `DISTANCE`, by index."""
    first, second = (np.array(hashes, np.uint64) for hashes in (train, test))
    best = np.full(len(second), np.iinfo(np.int64).max)
    shift = 0
    for bits in _GROUPS:
        # the group of bits becomes the highest
        turned, wanted = (
            np.bitwise_or(x << np.uint64(shift), x >> np.uint64(64 - shift)) if shift else x
            for x in (first, second)
        )
        order = np.argsort(turned, kind="stable")
        _compare(turned[order], order, wanted, np.uint64(64 - bits), best)
        shift += bits
    found = np.flatnonzero(best < (DISTANCE + 1) << 32)
    return dict(zip(found.tolist(), (best[found] & 0xFFFFFFFF).tolist()))


def _compare(
    known: np.ndarray, order: np.ndarray, wanted: np.ndarray, low: np.uint64, best: np.ndarray
) -> None:
    """Compare hashes with those that are equal in their highest bits, in blocks.

    Args:
        known: (N,) sorted hashes.
        order: (N,) their indices.
        wanted: (M,) hashes.
        low: number of the lower bits, which may differ.
        best: (M,) int64, distance << 32 | index of the nearest so far; changed in place.
    """
    near, mask = np.searchsorted(known, wanted), (np.uint64(1) << low) - np.uint64(1)
    start = np.maximum(np.searchsorted(known, wanted & ~mask), near - _NEIGHBOURS)
    end = np.minimum(np.searchsorted(known, wanted | mask, "right"), near + _NEIGHBOURS)
    rows = np.flatnonzero(end > start)
    sizes = (end - start)[rows]
    blocks = np.cumsum(sizes) // _BLOCK
    for block in np.unique(blocks):
        mine = rows[blocks == block]
        size = (end - start)[mine]
        offsets = np.cumsum(size) - size
        place = np.arange(size.sum()) - np.repeat(offsets - start[mine], size)
        differing = known[place] ^ np.repeat(wanted[mine], size)
        distance = _COUNTS[differing.view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.int64)
        nearest = np.minimum.reduceat(distance << 32 | order[place], offsets)
        best[mine] = np.minimum(best[mine], nearest)
