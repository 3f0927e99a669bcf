"""Classes of images and videos: class folders, the order of the labels, and display names."""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from timm.data import ImageNetInfo
from torchvision.models.video import MViT_V2_S_Weights

from mvit_det.data.catalog import OWNER, free_name
from mvit_det.data.discovery import FileIndex
from mvit_det.data.paths import resolve_path
from mvit_det.errors import UserError, shorten_list
from mvit_det.files import read_json

logger = logging.getLogger(__name__)

# ImageNet's class folders are named by WordNet's synsets.
_SYNSET = re.compile(r"n\d{8}")


def given_classes(classes: Sequence[str] | str | os.PathLike) -> tuple[list[str], list[str]]:
    """Return the class folders in the order of the labels, and their display names.

    Args:
        classes: the folders; or a text file with one folder per line, optionally followed by a tab
            and a display name; or a JSON file {name: class index}; or "imagenet-1k" or
            "kinetics-400". Relative paths: see `resolve_path`.

    Returns:
        K class folders and K display names; label k is the class at index k.

    Raises:
        UserError: the file cannot be read, names no class, or names one more than once.
    """
    if str(classes) == "imagenet-1k":
        folders = ImageNetInfo("imagenet-1k").label_names()
        return folders, display_names(folders)
    if str(classes) == "kinetics-400":
        folders = list(MViT_V2_S_Weights.KINETICS400_V1.meta["categories"])
        return folders, folders
    if not isinstance(classes, (str, os.PathLike)):
        folders = _check_distinct(list(map(str, classes)), "classes")
        return folders, display_names(folders)
    if str(classes).endswith(".json"):
        folders = numbered_classes(resolve_path(classes, "The list of classes"))
        return _check_distinct(folders, str(classes)), folders
    try:
        text = resolve_path(classes, "The list of classes").read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The list of classes {classes} cannot be read ({error}): give the path of a text file "
            "with one folder name per line."
        ) from error
    rows = [line.strip().partition("\t") for line in text.splitlines() if line.strip()]
    folders = _check_distinct([row[0].strip() for row in rows], str(classes))
    names = display_names(folders)
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
            raise ValueError("the class indices are not 0, 1, 2, ...")
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} has no index for each class ({error}): write {{name: index}} with the "
            "indices 0, 1, 2, ..."
        ) from error
    return [name for _, name in order]


def _check_distinct(folders: list[str], source: str) -> list[str]:
    """Return ``folders``; refuse an empty list, and names that occur twice."""
    twice = [folder for folder, count in Counter(folders).items() if count > 1]
    if twice or not folders:
        what = f"names {shorten_list(twice)} more than once" if twice else "names no class"
        raise UserError(f"{source} {what}: give each class one line.")
    return folders


@cache
def _descriptions() -> dict[str, str]:
    """Return {synset: English words} for ImageNet-1k and ImageNet-22k, from timm."""
    known = [ImageNetInfo("imagenet-22k"), ImageNetInfo("imagenet-1k")]
    return {k: v for info in known for k, v in zip(info.label_names(), info.label_descriptions())}


def display_names(folders: Iterable[str]) -> list[str]:
    """Return display names: the first English word of an ImageNet class, else the folder's name.

    If two classes have the same word ("crane" is a bird and a machine), the folder is appended.
    """
    folders = list(folders)
    if not all(map(_SYNSET.fullmatch, folders)):
        return folders
    words = [_descriptions().get(folder, folder).split(",")[0] for folder in folders]
    count = Counter(words)
    return [w if count[w] == 1 else f"{w} ({f})" for w, f in zip(words, folders)]


def classes_of(parts: Sequence[FileIndex], title: str, num_classes: int | None = None) -> list[str]:
    """Return the classes in the order of the labels: that of a list, else sorted class folders.

    If files have class indices only, the classes are "0", "1", ...

    Args:
        parts: the files, by root.
        title: name of the data set for messages.
        num_classes: number of classes if there are only indices; None: the largest index + 1.

    Raises:
        UserError: some files have a class index and others a folder.
    """
    named = sorted({folder for part in parts for folder in part.folders})
    numbered = [part for part in parts if not part.folders and len(part.numbers)]
    if not numbered:
        return parts[0].folders if len(parts) == 1 and parts[0].ordered else named
    if named:
        raise UserError(
            f"{title}: some images have a class index as label ({numbered[0].source}), others a "
            f"class folder ({shorten_list(named, 3)}): give the order of the classes as `classes`."
        )
    highest = max(part.numbers.max() for part in numbered)
    return [str(number) for number in range(1 + highest if num_classes is None else num_classes)]


def labelled(
    parts: Sequence[FileIndex],
    title: str,
    kind: str,
    class_folders: Callable[[Any], list[str]],
    classes: Sequence[str] | str | os.PathLike | None,
    same_classes_as: Any,
    num_classes: int | None,
) -> tuple[np.ndarray, list[str], list[str]]:
    """Label all files of a data set, and log the number of files per class.

    Args:
        parts: the files, by root.
        title: name of the data set for the log and for messages.
        kind: what the files are: "image" or "video".
        class_folders: returns the classes of ``same_classes_as``.
        classes: as for `given_classes`; None: the classes of ``same_classes_as``, or of the files
            themselves.
        same_classes_as: another root or list, whose classes set the order of the labels; or None.
        num_classes: number of classes the model is built for; None: not checked.

    Returns:
        Labels int64 (N,), class folders in the order of the labels, and their display names.

    Raises:
        UserError: the number of classes differs from ``num_classes``, or a file belongs to none of
            the classes.
    """
    if classes is not None:
        folders, names = given_classes(classes)
    else:
        if same_classes_as is not None:
            folders = class_folders(same_classes_as)
        else:
            folders = classes_of(parts, title, num_classes)
        names = display_names(folders)
    if num_classes is not None and len(folders) != num_classes:
        raise UserError(
            f"{title} has {len(folders)} classes, but the model is built for {num_classes}: set "
            f"model.num_classes={len(folders)}, or give the list of its classes as `classes`."
        )
    labels = np.concatenate([_label_part(part, folders) for part in parts])
    _log_class_sizes(title, kind, parts, labels, names)
    return labels, folders, names


def _label_part(part: FileIndex, folders: Sequence[str]) -> np.ndarray:
    """Return the label of each file, int64 (N,): the index of its class in ``folders``."""
    if not part.folders:
        strays = (part.numbers < 0) | (part.numbers >= len(folders))
        if strays.any():
            raise UserError(
                f"{part.place(int(strays.argmax()))} has labels such as "
                f"{shorten_list(np.unique(part.numbers[strays]), 3)}, but there are {len(folders)} "
                f"classes, 0 to {len(folders) - 1}: correct them, or `classes`."
            )
        return part.numbers
    order = {_normalise(folder): label for label, folder in enumerate(folders)}
    if len(order) < len(folders):  # some names differ only in such characters
        order = {}
    order |= {folder: label for label, folder in enumerate(folders)}
    labels = [order.get(folder, order.get(_normalise(folder))) for folder in part.folders]
    unknown = [folder for folder, label in zip(part.folders, labels) if label is None]
    if unknown:
        raise UserError(
            f"{part.list_file or part.source} has {len(unknown)} class"
            f"{'(es)' if part.list_file else ' folder(s)'} that are not among the {len(folders)} "
            f"classes of the model ({shorten_list(unknown)}; known are "
            f"{shorten_list(folders, 3)}): rename or move them, or correct `classes`."
        )
    return np.array(labels, dtype=np.int64)[part.numbers]


def _normalise(name: str) -> str:
    """Undo what copies of Kinetics change in a class name, as in "air_drumming"."""
    return name.replace("_", " ").replace('"', "")


def _log_class_sizes(
    title: str, kind: str, parts: Sequence[FileIndex], labels: np.ndarray, names: Sequence[str]
) -> None:
    """Log the number of files per class, empty classes, and what is not used."""
    counts = np.bincount(labels, minlength=len(names))
    logger.info(
        "%s: %d %ss of %d classes, %d to %d each.",
        *(title, len(labels), kind, len(names), counts.min(), counts.max()),
    )
    empty = [name for name, count in zip(names, counts) if not count]
    if empty:
        logger.warning(
            "%s: %d classes have no %s: %s", title, len(empty), kind, shorten_list(empty)
        )
    for part in parts:
        if part.ignored:
            logger.warning("%s: ignored %s.", part.list_file or part.source, part.ignored)


def register(name: str, folders: Sequence[str], names: Sequence[str], **more: int) -> None:
    """Register classes in Detectron2's MetadataCatalog, or replace an entry of this package.

    Args:
        name: of the entry.
        folders: class folders in the order of the labels.
        names: display names in the same order.
        more: further fields of the entry.

    Raises:
        UserError: the name belongs to an entry that is not from this package.
    """
    free_name(name)
    MetadataCatalog.get(name).set(
        classes=names, thing_classes=names, class_folders=folders, registered_by=OWNER, **more
    )
