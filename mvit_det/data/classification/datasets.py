"""Images for classification, from class folders or tar files.

Names and labels are held in a few arrays, for data sets of 14 million images (ImageNet-21k).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mvit_det.data.class_labels import classes_of, labelled, register
from mvit_det.data.classification.discovery import find_images
from mvit_det.data.custom.categories import class_source, folder_categories
from mvit_det.data.discovery import FileIndex
from mvit_det.data.paths import resolve_path
from mvit_det.errors import UserError, shorten_list

Roots = str | os.PathLike | Sequence[str | os.PathLike]


@dataclass(eq=False)
class ImageClasses(Dataset):
    """Data set of N images: dicts with "file_name" and "label", the class index.

    An image in a tar file also has "shard", the path of the tar file, and "offset" and "size" in
    bytes.

    Attributes:
        labels: (N,) int64, class indices of all images.
        classes: class folders in the order of the labels.
        class_names: display names in the same order.
        parts: the images of each root or tar file, in the order of ``labels``.
    """

    labels: np.ndarray
    classes: list[str]
    class_names: list[str]
    parts: Sequence[FileIndex]

    def __post_init__(self) -> None:
        self._ends = np.cumsum([len(part.names) for part in self.parts])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        number = int(np.searchsorted(self._ends, index, side="right"))
        part, row = self.parts[number], int(index - self._ends[number])  # < 0: from the part's end
        item = {"file_name": part.path(row), "label": int(self.labels[index])}
        if part.places is not None:
            offset, size = part.places[:, row].tolist()
            item |= {"shard": part.source, "offset": offset, "size": size}
        return item


@class_source(lambda node: folder_categories(node, "root", class_folders))
def image_classes(
    root: Roots,
    *,
    name: str | None = None,
    classes: Sequence[str] | str | os.PathLike | None = None,
    same_classes_as: Roots | None = None,
    num_classes: int | None = None,
) -> ImageClasses:
    """Find images in class folders or tar files, and label them.

    Args:
        root: a folder, relative to the working directory or else to the datasets folder; or
            several, which are joined. A folder contains either one folder per class, with images at
            any depth, or tar files. Tar files contain class folders (at their top, or all below one
            common folder), or the images of the class that they are named after, or WebDataset's
            pairs ``key.jpg`` and ``key.cls`` (the class index).
        name: entry of Detectron2's MetadataCatalog for the class names. None: no entry.
        classes: the order of the labels, as for `given_classes`. None: sorted class folders.
        same_classes_as: another root, whose class folders set the order of the labels.
        num_classes: number of classes the model is built for; None: not checked.

    Raises:
        UserError: no image is found, an image has no class in the list, or the number of classes
            differs from ``num_classes``.
    """
    title, parts = shorten_list(_roots(root)), _parts(root)
    if not any(len(part.names) for part in parts):
        raise UserError(
            f"{title} has no image in its class folders or tar files, only "
            f"{shorten_list(filter(None, (part.ignored for part in parts))) or 'nothing'}: add "
            "some (tar files inside of tar files must be unpacked first)."
        )
    labels, folders, names = labelled(
        parts, title, "image", class_folders, classes, same_classes_as, num_classes
    )
    if name is not None:
        register(name, folders, names)
    parts = [replace(part, numbers=labels[:0]) for part in parts]  # the labels are kept once
    return ImageClasses(labels, folders, names, parts)


def class_folders(root: Roots) -> list[str]:
    """List the sorted class folders of a root; "0", "1", ... if images have class indices only.

    Raises:
        UserError: the root does not exist, or its images cannot be indexed.
    """
    return classes_of(_parts(root, names_only=True), shorten_list(_roots(root)))


def count_images(root: Roots) -> int:
    """Count the images in the class folders or tar files of a root.

    Raises:
        UserError: the root does not exist, or its images cannot be indexed.
    """
    return sum(len(part.names) for part in _parts(root))


def _parts(root: Roots, names_only: bool = False) -> list[FileIndex]:
    return [part for path in _roots(root) for part in find_images(resolve_path(path), names_only)]


def _roots(root: Roots) -> list[str]:
    return [str(root)] if isinstance(root, (str, os.PathLike)) else list(map(str, root))
