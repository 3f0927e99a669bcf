"""Images for classification, out of class folders or tar files.

Written for 14 million images: what is known of them stands in a few arrays.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mvit_det.data.class_labels import classes_of, labelled, register
from mvit_det.data.classification.discovery import find_images
from mvit_det.data.custom.categories import class_source, folder_categories
from mvit_det.data.discovery import FileIndex
from mvit_det.data.packed_text import PackedText
from mvit_det.data.paths import resolve_path
from mvit_det.errors import UserError, some

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
        parts: Sequence[FileIndex],
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


@class_source(lambda node: folder_categories(node, "root", class_folders))
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
    parts = [part for one in roots for part in find_images(resolve_path(one))]
    if not any(len(part.names) for part in parts):
        raise UserError(
            f"{title} has no image in its class folders or tar files, only "
            f"{some(filter(None, (part.ignored for part in parts))) or 'nothing'}: add some (tar files "
            "inside of tar files must be unpacked first)."
        )
    ordered = ()
    if classes is None and same_classes_as is not None:
        ordered = class_folders(same_classes_as)
    elif classes is None:
        ordered = classes_of(parts, title)
    known = dict(classes=classes, ordered=ordered, num_classes=num_classes)
    labels, folders, names = labelled(parts, title, "image", **known)
    if name is not None:
        register(name, folders, names)
    return ImageClasses(parts, labels, folders, names)


def class_folders(root: Roots) -> list[str]:
    """The sorted class folders of a root; of images that have labels only, "0", "1", ..."""
    parts = [part for one in _roots(root) for part in find_images(resolve_path(one), names_only=True)]
    return classes_of(parts, some(_roots(root)))


def count_images(root: Roots) -> int:
    """How many images are below a root."""
    parts = [part for one in _roots(root) for part in find_images(resolve_path(one))]
    return sum(len(part.names) for part in parts)


def _roots(root: Roots) -> list[str]:
    return [str(root)] if isinstance(root, (str, os.PathLike)) else [str(one) for one in root]
