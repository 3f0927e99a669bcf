"""Data that are drawn, once, into a folder below the datasets folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mvit_det.data.paths import datasets_root
from mvit_det.errors import check_choice
from mvit_det.files import atomic_folder

SPLITS = ("train", "val")


def generated_split(
    split: str,
    kind: str,
    settings: str,
    *,
    version: int,
    counts: tuple[int, int],
    seed: int,
    draw: Callable[[Path, int, tuple[int, int]], None],
) -> Path:
    """Return the folder of a split of a generated data set; draw both splits if it is missing.

    Both appear complete or not at all (`atomic_folder`), below the datasets folder.

    Args:
        kind: of data; gives them their folder.
        settings: what else they are drawn by, as a part of a file name.
        version: of the drawing: raise it whenever what is drawn changes.
        counts: of the training and of the validation split.
        draw: draws one split: (its folder, its count, its seeds).
    """
    check_choice(kind, SPLITS, split=split)
    name = f"v{version}-{counts[0]}+{counts[1]}-{settings}-seed{seed}"
    folder = datasets_root() / kind / name
    if not folder.exists():
        fix = "set DETECTRON2_DATASETS to a folder that is writable."
        with atomic_folder(folder, f"generated data ({kind})", fix) as draft:
            for number, (part, count) in enumerate(zip(SPLITS, counts)):
                draw(draft / part, count, (seed, number))
    return folder / split


def numbered_rngs(
    folder: Path, count: int, seed: int | tuple[int, ...], unit: str
) -> Iterator[tuple[int, np.random.Generator]]:
    """Index and random numbers of each item of a split, by (seed, index) alone, with progress."""
    for index in tqdm(range(count), desc=f"drawing {folder.name} {unit}s", unit=unit):
        yield index, np.random.default_rng([*np.atleast_1d(seed).tolist(), index])
