"""Data that are drawn, once, into a folder below the datasets folder."""

from collections.abc import Callable
from pathlib import Path

from mvit_det.data.paths import datasets_root
from mvit_det.files import atomic_folder

SPLITS = ("train", "val")


def generated_folder(
    name: str,
    what: str,
    counts: tuple[int, int],
    seed: int,
    draw: Callable[[Path, int, tuple[int, int]], None],
) -> Path:
    """Return the folder of a generated data set below the datasets folder; draw it if it is missing.

    It appears complete or not at all (`atomic_folder`), with a folder for each split.

    Args:
        name: the kind of data, and below it all that they are drawn by.
        what: they are, for the sentence that ends the run where nothing can be written.
        counts: of the training and of the validation split.
        draw: draws one split: (its folder, its count, its seeds).
    """
    folder = datasets_root() / name
    if folder.exists():
        return folder
    fix = "set DETECTRON2_DATASETS to a folder that is writable."
    with atomic_folder(folder, what, fix) as draft:
        for number, (split, count) in enumerate(zip(SPLITS, counts)):
            draw(draft / split, count, (seed, number))
    return folder
