"""Pictures for validation that are for training as well."""

import numpy as np
import pytest
from PIL import Image

from mvit_det.check import duplicates
from mvit_det.data.checks.findings import FileReport
from mvit_det.data.checks.pictures import SimilarCheck, read_picture


def prints(hashes, split):
    result = duplicates.Fingerprints()
    for number, value in enumerate(hashes):
        result.add(
            f"{split}{number}", FileReport([], digest=hash((split, number)), hash=int(value))
        )
    return result


@pytest.mark.parametrize("block", [1 << 22, 50], ids=["one block", "blocks"])
def test_the_nearest_hashes_are_those_of_a_comparison_of_all_pairs(monkeypatch, block):
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    rng = np.random.default_rng(1)
    train = rng.integers(0, 2**64, 500, dtype=np.uint64)
    test = np.concatenate([rng.integers(0, 2**64, 50, dtype=np.uint64), train[:200]])
    for index in range(50, 250):
        for bit in rng.choice(64, rng.integers(0, 9), replace=False):
            test[index] ^= np.uint64(1) << np.uint64(bit)
    findings, checks = duplicates.find_duplicates(prints(train, "a"), prints(test, "b"))
    assert not findings
    distance = np.array([[bin(x ^ y).count("1") for x in train.tolist()] for y in test.tolist()])
    near = np.flatnonzero(distance.min(axis=1) <= duplicates.DISTANCE)
    pairs = {int(check.path[1:]): int(check.other[1:]) for check in checks}
    assert 100 < len(near) and sorted(pairs) == near.tolist()
    assert all(distance[at, other] == distance[at].min() for at, other in pairs.items())


def test_a_copy_looks_alike_and_another_picture_of_a_similar_hash_does_not(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (8, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.png")
    picture.resize((250, 190)).save(tmp_path / "b.jpg", quality=50)
    paler = Image.fromarray((np.asarray(picture) * 0.3 + 120).astype(np.uint8))
    paler.save(tmp_path / "c.png")
    a, b, c = (str(tmp_path / name) for name in ("a.png", "b.jpg", "c.png"))
    hashes = [read_picture(path).hash for path in (a, b, c)]
    assert all(bin(hashes[0] ^ value).count("1") <= duplicates.DISTANCE for value in hashes)
    (found,) = SimilarCheck(b, a).run().findings
    assert (found.kind, found.other) == ("near-duplicate", a)
    assert not SimilarCheck(c, a).run().findings


def test_equal_files_and_one_folder_for_both_splits():
    train, test = duplicates.Fingerprints(), duplicates.Fingerprints()
    for path, digest in (("x", 1), ("y", 2), ("z", 3)):
        train.add(path, FileReport([], digest))
    for path, digest in (("x", 1), ("copy of y", 2), ("new", 4)):
        test.add(path, FileReport([], digest))
    findings, checks = duplicates.find_duplicates(train, test)
    assert [(each.kind, each.file, each.other) for each in findings] == [
        ("near-duplicate", "copy of y", "y"),
        ("validation on training data", "", ""),
    ]
    assert "1 of 3 files" in findings[1].message and not checks
