"""Images for classification, out of class folders or tar files.

Written for 14 million images: what is known of them stands in a few arrays.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from torch.utils.data import Dataset

from mvit_det.data.catalog import OWNER, free_name
from mvit_det.data.class_names import given_classes, shown_names
from mvit_det.data.found_images import FoundImages, find_images, located
from mvit_det.data.packed import PackedText
from mvit_det.errors import UserError, some

logger = logging.getLogger(__name__)

Roots = str | os.PathLike | Sequence[str | os.PathLike]


class ImageClasses(Dataset):
    """Items are dicts with "file_name" and "label"; out of tar files with "shard", "offset", "size".

    Attributes:
        classes: the folders of the classes in the order of the labels.
        class_names: the names to show, in the same order.
        labels: of all images.
    """

    def __init__(
        self,
        parts: Sequence[FoundImages],
        labels: np.ndarray,
        classes: Sequence[str],
        class_names: Sequence[str],
    ):
        self.labels = labels
        self.classes = list(classes)
        self.class_names = list(class_names)
        self._sources = [part.source for part in parts]
        self._names = PackedText.joined([part.names for part in parts])
        self._source_of = np.repeat(
            np.arange(len(parts), dtype=np.int32), [len(part.names) for part in parts]
        )
        # Files of class folders have no place in a tar file: a size of -1.
        self._offsets, self._sizes = np.concatenate(
            [
                np.full((2, len(part.names)), -1) if part.places is None else part.places
                for part in parts
            ],
            axis=1,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        source = self._sources[self._source_of[index]]
        item = {
            "file_name": os.path.join(source, self._names[index]),
            "label": int(self.labels[index]),
        }
        if self._sizes[index] >= 0:
            place = {"offset": int(self._offsets[index]), "size": int(self._sizes[index])}
            item |= {"shard": source, **place}
        return item


def image_classes(
    root: Roots,
    *,
    name: str | None = None,
    classes: Sequence[str] | str | os.PathLike | None = None,
    same_classes_as: Roots | None = None,
    num_classes: int | None = None,
) -> ImageClasses:
    """Find the images below ``root`` and their labels.

    Args:
        root: a folder, seen from the working directory or else from the datasets folder; or several,
            which are joined. It holds either one folder per class, with images at any depth; or tar
            files: with class folders at their top (or all below one common folder), or one tar file
            per class, named after it, or WebDataset's pairs ``key.jpg`` and ``key.cls`` (the label).
        name: under which the names of the classes are put into Detectron2's MetadataCatalog.
        classes: the order of the labels: class folders, a text file with one per line (behind which
            a tab and a name to show may stand), or "imagenet-1k"; by default the sorted folders.
        same_classes_as: another root, whose class folders set the order of the labels.
        num_classes: what the model is built for; another number is refused.

    Raises:
        UserError: there is nothing to use, or images belong to no class of the list.
    """
    roots = _roots(root)
    title = some(roots)
    parts = [part for one in roots for part in find_images(located(one))]
    if not any(len(part.names) for part in parts):
        raise UserError(
            f"{title} has no image in its class folders or tar files: add some (tar files inside of "
            "tar files must be unpacked first)."
        )
    if classes is None and same_classes_as is not None:
        folders = class_folders(same_classes_as)
        names = shown_names(folders)
    elif classes is not None:
        folders, names = given_classes(classes)
    else:
        folders = _folders_of(parts, title)
        names = shown_names(folders)
    if num_classes is not None and len(folders) != num_classes:
        raise UserError(
            f"{title} has {len(folders)} classes, but the model is built for {num_classes}: set "
            f"model.num_classes={len(folders)}, or give the list of its classes as `classes`."
        )
    labels = np.concatenate([_labels(part, folders) for part in parts])
    _report(title, parts, labels, names)
    if name is not None:
        _register(name, folders, names)
    return ImageClasses(parts, labels, folders, names)


def class_folders(root: Roots) -> list[str]:
    """The sorted class folders of a root; of images that have labels only, "0", "1", ..."""
    parts = [part for one in _roots(root) for part in find_images(located(one), names_only=True)]
    return _folders_of(parts, some(_roots(root)))


def count_images(root: Roots) -> int:
    """How many images are below a root."""
    parts = [part for one in _roots(root) for part in find_images(located(one))]
    return sum(len(part.names) for part in parts)


def _roots(root: Roots) -> list[str]:
    return [str(root)] if isinstance(root, (str, os.PathLike)) else [str(one) for one in root]


def _folders_of(parts: Sequence[FoundImages], title: str) -> list[str]:
    """The classes in their own order."""
    named = sorted({folder for part in parts for folder in part.folders})
    numbered = [part for part in parts if not part.folders and len(part.numbers)]
    if not numbered:
        return named
    if named:
        raise UserError(
            f"{title}: some images have a number as label ({numbered[0].source}), others a folder "
            f"({some(named, 3)}): give the order of the classes as `classes`."
        )
    return [str(number) for number in range(1 + max(part.numbers.max() for part in numbered))]


def _labels(part: FoundImages, folders: list[str]) -> np.ndarray:
    if not part.folders:
        strays = part.numbers[(part.numbers < 0) | (part.numbers >= len(folders))]
        if len(strays):
            raise UserError(
                f"{part.source} has labels such as {some(np.unique(strays), 3)}, but there are "
                f"{len(folders)} classes, 0 to {len(folders) - 1}: correct them, or `classes`."
            )
        return part.numbers
    order = {folder: label for label, folder in enumerate(folders)}
    unknown = [folder for folder in part.folders if folder not in order]
    if unknown:
        raise UserError(
            f"{part.source} has {len(unknown)} class folder(s) that are not among the "
            f"{len(folders)} classes of the model ({some(unknown)}; known are {some(folders, 3)}): "
            "rename or move them, or correct `classes`."
        )
    return np.array([order[folder] for folder in part.folders], dtype=np.int64)[part.numbers]


def _report(title: str, parts: Sequence[FoundImages], labels: np.ndarray, names: list[str]) -> None:
    counts = np.bincount(labels, minlength=len(names))
    logger.info(
        "%s: %d images of %d classes, %d to %d each.",
        *(title, len(labels), len(names), counts.min(), counts.max()),
    )
    empty = [name for name, count in zip(names, counts) if not count]
    if empty:
        logger.warning("%s: %d classes have no image: %s", title, len(empty), some(empty))
    for part in parts:
        if part.ignored:
            logger.warning("%s: not used are %s.", part.source, part.ignored)


def _register(name: str, folders: list[str], names: list[str]) -> None:
    """Enter the classes into Detectron2's catalog, in the place of an earlier entry of ours."""
    free_name(name)
    MetadataCatalog.get(name).set(
        classes=names, thing_classes=names, class_folders=folders, registered_by=OWNER
    )
