"""Classes of images and videos: their order, which is that of the labels, and their names."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from timm.data import ImageNetInfo
from torchvision.models.video import MViT_V2_S_Weights

from mvit_det.data.paths import resolve_path
from mvit_det.errors import UserError, some
from mvit_det.files import read_json

# ImageNet's classes, which are named by WordNet's synsets.
_SYNSET = re.compile(r"n\d{8}")


def given_classes(classes: Sequence[str] | str | os.PathLike) -> tuple[list[str], list[str]]:
    """Return the class folders in the order of the labels, and their display names.

    Args:
        classes: the folders; or a text file with one folder per line, optionally followed by a tab
            and a display name; or a JSON file {name: class index}; or "imagenet-1k" or
            "kinetics-400". Relative paths: see `resolve_path`.

    Raises:
        UserError: the file cannot be read, names no class, or names one more than once.
    """
    if str(classes) == "imagenet-1k":
        folders = ImageNetInfo("imagenet-1k").label_names()
        return folders, shown_names(folders)
    if str(classes) == "kinetics-400":
        folders = list(MViT_V2_S_Weights.KINETICS400_V1.meta["categories"])
        return folders, folders
    if not isinstance(classes, (str, os.PathLike)):
        folders = _distinct(list(map(str, classes)), "classes")
        return folders, shown_names(folders)
    if str(classes).endswith(".json"):
        folders = numbered_classes(resolve_path(classes, "The list of classes"))
        return _distinct(folders, str(classes)), folders
    try:
        text = resolve_path(classes, "The list of classes").read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The list of classes {classes} cannot be read ({error}): give the path of a text file "
            "with one folder name per line."
        ) from error
    rows = [line.strip().partition("\t") for line in text.splitlines() if line.strip()]
    folders = _distinct([row[0].strip() for row in rows], str(classes))
    names = shown_names(folders)
    return folders, [row[2].strip() or name for row, name in zip(rows, names)]


def numbered_classes(path: str | os.PathLike) -> list[str]:
    """Read the classes of a JSON file {name: class index}, in the order of the indices.

    Raises:
        UserError: the file cannot be read, or the indices are not 0, 1, 2, ...
    """
    table = read_json(path, "The list of classes")
    try:
        order = sorted((int(number), name.replace('"', "")) for name, number in table.items())
        if [number for number, _ in order] != list(range(len(order))):
            raise ValueError("the numbers are not 0, 1, 2, ...")
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not give each class its number ({error}): write {{name: number}} with "
            "the numbers 0, 1, 2, ..."
        ) from error
    return [name for _, name in order]


def _distinct(folders: list[str], source: str) -> list[str]:
    twice = [folder for folder, count in Counter(folders).items() if count > 1]
    if twice or not folders:
        what = f"names {some(twice)} more than once" if twice else "names no class"
        raise UserError(f"{source} {what}: give each class one line.")
    return folders


@cache
def _descriptions() -> dict[str, str]:
    """Return {synset: English words} for ImageNet-1k and ImageNet-22k, from timm."""
    known = [ImageNetInfo("imagenet-22k"), ImageNetInfo("imagenet-1k")]
    return {k: v for info in known for k, v in zip(info.label_names(), info.label_descriptions())}


def shown_names(folders: Iterable[str]) -> list[str]:
    """Return display names: of ImageNet's classes their first English word, else the folder.

    Where two classes have the same word ("crane" is a bird and a machine), the folder follows.
    """
    folders = list(folders)
    if not all(map(_SYNSET.fullmatch, folders)):
        return folders
    words = [_descriptions().get(folder, folder).split(",")[0] for folder in folders]
    count = Counter(words)
    return [w if count[w] == 1 else f"{w} ({f})" for w, f in zip(words, folders)]
