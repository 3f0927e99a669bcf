"""Videos for classification, out of class folders or published lists.

Written for the 650,000 videos of Kinetics: what is known of them stands in a few arrays.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mvit_det.data.class_labels import check_number, classes_of, labels_of, register, report
from mvit_det.data.class_names import given_classes
from mvit_det.data.discovery import FileIndex
from mvit_det.data.paths import resolve_path
from mvit_det.data.video.discovery import find_videos
from mvit_det.errors import UserError, some

logger = logging.getLogger(__name__)


class VideoClasses(Dataset):
    """Items are dicts with "file_name" and "label", and "fps" if that was given.

    Attributes:
        classes: folders or names of the classes in the order of the labels.
        class_names: the names to show, in the same order.
        labels: of all videos.
        missing: how many videos the list names that are not there.
    """

    def __init__(
        self,
        found: FileIndex,
        labels: np.ndarray,
        classes: Sequence[str],
        class_names: Sequence[str],
        *,
        fps: float | None,
        missing: int,
    ):
        self.labels = labels
        self.classes = list(classes)
        self.class_names = list(class_names)
        self.missing = missing
        self._folder = found.source
        self._names = found.names
        self._more = {} if fps is None else {"fps": fps}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = os.path.join(self._folder, self._names[index])
        return {"file_name": path, "label": int(self.labels[index]), **self._more}


def video_classes(
    source: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    name: str | None = None,
    classes: Sequence[str] | str | os.PathLike | None = None,
    same_classes_as: str | os.PathLike | None = None,
    num_classes: int | None = None,
    fps: float | None = None,
) -> VideoClasses:
    """Find videos and their labels. Those of a list that are not there are left out and counted.

    Args:
        source: a folder with one folder per class, with videos at any depth; or a list in one of the
            formats of `video_lists`. Seen from the working directory, or else from the datasets
            folder. In both, a folder of pictures stands for a video: its frames.
        root: the folder that the paths of a list begin in; by default the list's own folder, the
            working directory or the datasets folder, whichever has them. The videos of Kinetics' own
            annotation and of Something-Something-v2 may lie in it or in folders of it.
        name: under which the names of the classes are put into Detectron2's MetadataCatalog, and how
            many ``videos`` and how many ``missing_videos`` there are.
        classes: the order of the labels, or of numbers the names: class folders, a text file with
            one per line, a JSON file {name: number}, or "kinetics-400"; by default the sorted
            folders, or what the list says.
        same_classes_as: another source, whose classes set the order of the labels.
        num_classes: what the model is built for; another number is refused.
        fps: frames per second of folders of frames.

    Raises:
        UserError: there is nothing to use, or a row or a class cannot be.
    """
    if fps is not None and not (isinstance(fps, (int, float)) and fps > 0):
        raise UserError(f"fps={fps!r} of video_classes must be frames per second, above 0.")
    title = str(source)
    found, missing = find_videos(source, root)
    if not len(found.names):
        raise UserError(
            f"{title} has no video in its class folders (of {some(found.folders, 3)}), only "
            f"{found.ignored or 'nothing'}: add some; frames of a video belong into a folder of their "
            "own inside the class folder."
        )
    if classes is not None:
        folders, names = given_classes(classes)
    elif same_classes_as is not None:
        folders = names = video_class_folders(same_classes_as)
    else:
        folders = names = classes_of([found], title, num_classes)
    check_number(title, folders, num_classes)
    labels = labels_of(found, folders)
    if missing:
        logger.warning(
            "%s: %d of %d videos are not in %s and are left out: %s",
            *(title, len(missing), len(missing) + len(labels), found.source, some(missing, 3)),
        )
    report(title, "video", [found], labels, names)
    if name is not None:
        register(name, folders, names, videos=len(labels), missing_videos=len(missing))
    return VideoClasses(found, labels, folders, names, fps=fps, missing=len(missing))


def video_class_folders(source: str | os.PathLike) -> list[str]:
    """The classes of a source, in their order; of lists that have numbers only, "0", "1", ..."""
    return classes_of([find_videos(source, names_only=True)[0]], str(source))


def count_videos(source: str | os.PathLike) -> int:
    """How many videos a source has; of a list the rows, since its videos may lie at some ``root``."""
    listed = not resolve_path(source, "The folder or list of videos").is_dir()
    return len(find_videos(source, names_only=listed)[0].names)
