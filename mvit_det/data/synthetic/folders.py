"""Generated data sets, drawn once into a folder below the datasets folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mvit_det.data.paths import datasets_root
from mvit_det.errors import check_choice
from mvit_det.files import atomic_folder

SPLITS = ("train", "val")


def split_folder(
    split: str,
    kind: str,
    settings: str,
    draw: Callable[[Path, int, tuple[int, int]], None],
    counts: tuple[int, int],
    seed: int,
    version: int,
) -> Path:
    """Return the folder of a split of a generated data set; draw both splits if it is missing.

    Both appear complete or not at all (`atomic_folder`), below the datasets folder.

    Args:
        split: "train" or "val".
        kind: name of the data set, which is that of its folder.
        settings: all other parameters of the drawing, as a part of a folder name.
        draw: draws one split, called with its folder, its count and its seeds.
        counts: number of items of the training and of the validation split.
        seed: of both splits.
        version: of the drawing code; increase it whenever the result changes.

    Raises:
        UserError: the split is not known, or the datasets folder is not writable.
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


def item_rngs(
    folder: Path, count: int, seed: int | tuple[int, ...], unit: str
) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield (index, generator) of each item of a split, with a progress bar.

    Args:
        folder: of the split, for the progress bar.
        count: number of items.
        seed: one or several integers, at least 0; the generator is seeded by (seed, index).
        unit: what an item is, in one word, for the progress bar.
    """
    for index in tqdm(range(count), desc=f"drawing {folder.name} {unit}s", unit=unit):
        yield index, np.random.default_rng([*np.atleast_1d(seed).tolist(), index])
