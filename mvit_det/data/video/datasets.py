"""Videos for classification, out of class folders or published lists.

Written for the 650,000 videos of Kinetics: what is known of them stands in a few arrays.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mvit_det.data.class_labels import classes_of, labelled, register
from mvit_det.data.custom.categories import class_source, folder_categories
from mvit_det.data.discovery import FileIndex
from mvit_det.data.paths import resolve_path
from mvit_det.data.video.discovery import find_videos
from mvit_det.errors import UserError, check_count, check_positive, some

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class VideoClasses(Dataset):
    """Items are dicts with "file_name", "label", "clip", "clips", and "fps" if that was given.

    Each of the N videos has ``clips`` items side by side, which a sampling places evenly: item
    ``video * clips + clip``.

    Attributes:
        classes: folders or names of the classes in the order of the labels.
        class_names: the names to show, in the same order.
        labels: (N,) of all videos.
        files: the N videos.
        missing: how many videos the list names that are not there.
    """

    labels: np.ndarray
    classes: list[str]
    class_names: list[str]
    files: FileIndex
    missing: int = 0
    clips: int = 1
    fps: float | None = None

    def __len__(self) -> int:
        return len(self.labels) * self.clips

    def __getitem__(self, index: int) -> dict[str, Any]:
        video, clip = divmod(range(len(self))[index], self.clips)
        path, label = self.files.path(video), int(self.labels[video])
        item = dict(file_name=path, label=label, clip=clip, clips=self.clips)
        return item if self.fps is None else dict(item, fps=self.fps)


@class_source(lambda node: folder_categories(node, "source", video_class_folders))
def video_classes(
    source: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    name: str | None = None,
    classes: Sequence[str] | str | os.PathLike | None = None,
    same_classes_as: str | os.PathLike | None = None,
    num_classes: int | None = None,
    fps: float | None = None,
    clips: int = 1,
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
        clips: of each video, for testing. Crops are the transform's affair.

    Raises:
        UserError: there is nothing to use, or a row or a class cannot be.
    """
    if fps is not None:
        check_positive("video_classes", fps=fps)
    check_count("video_classes", clips=clips)
    title = str(source)
    found, missing = find_videos(source, root)
    if not len(found.names):
        raise UserError(
            f"{title} has no video in its class folders (of {some(found.folders, 3)}), only "
            f"{found.ignored or 'nothing'}: add some; frames of a video belong into a folder of their "
            "own inside the class folder."
        )
    asked = dict(classes=classes, same_classes_as=same_classes_as, num_classes=num_classes)
    labels, folders, names = labelled([found], title, "video", video_class_folders, **asked)
    if missing:
        logger.warning(
            "%s: %d of %d videos are not in %s and are left out: %s",
            *(title, len(missing), len(missing) + len(labels), found.source, some(missing, 3)),
        )
    if name is not None:
        register(name, folders, names, videos=len(labels), missing_videos=len(missing))
    found = replace(found, numbers=labels, rows=None)
    return VideoClasses(labels, folders, names, found, len(missing), clips, fps)


def video_views(dataset: Sequence[dict[str, Any]], *, clips: int) -> list[dict[str, Any]]:
    """Several clips of each video, where an older config has a data set of videos inside."""
    check_count("video_views", clips=clips)
    return [{**item, "clip": k, "clips": clips} for item in dataset for k in range(clips)]


def video_class_folders(source: str | os.PathLike) -> list[str]:
    """The classes of a source, in their order; of lists that have numbers only, "0", "1", ..."""
    return classes_of([find_videos(source, names_only=True)[0]], str(source))


def count_videos(source: str | os.PathLike) -> int:
    """How many videos a source has; of a list the rows, since its videos may lie at some ``root``."""
    listed = not resolve_path(source, "The folder or list of videos").is_dir()
    return len(find_videos(source, names_only=listed)[0].names)
