"""Videos for classification, from class folders or published lists.

Names and labels are held in a few arrays, for data sets of 650,000 videos (Kinetics-700).
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
from mvit_det.data.video.frame_folders import check_frame_folders
from mvit_det.errors import UserError, check_count, check_positive, check_share, shorten_list

logger = logging.getLogger(__name__)

# A larger share of missing videos is not explained by those that went offline.
_MANY_MISSING = 0.1


@dataclass(eq=False)
class VideoClasses(Dataset):
    """Videos as dicts with "file_name", "label", "clip", "clips", and "fps" if given.

    Each of the N videos has ``clips`` consecutive items, which the sampling spaces evenly in time:
    item ``video * clips + clip``.

    Attributes:
        labels: (N,) int64, class indices of all videos.
        classes: class folders or names in the order of the labels.
        class_names: display names in the same order.
        files: the N videos.
        missing: number of absent videos of the list.
        clips: items per video.
        fps: frames per second of folders of frames; None: 30.
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
    max_missing: float = 0.5,
) -> VideoClasses:
    """Find videos and their labels; absent videos of a list are left out and counted.

    Args:
        source: a folder with one folder per class, with videos at any depth; or a list in one of
            the formats of `mvit_det.data.video.lists`. Relative to the working directory, or else
            to the datasets folder. In both, a folder of pictures is a video, one frame each.
        root: folder that the paths of a list are relative to; None: the list's own folder, the
            working directory or the datasets folder, the first that has some of them. The videos of
            Kinetics' csv files and of Something-Something-v2 may also be in folders below it.
        name: entry of Detectron2's MetadataCatalog for the class names, and for the numbers of
            ``videos`` and ``missing_videos``. None: no entry.
        classes: the order of the labels, or the names of a list's class indices, as for
            `given_classes`. None: sorted class folders, or the order of the list.
        same_classes_as: another source, whose classes set the order of the labels.
        num_classes: number of classes the model is built for; None: not checked.
        fps: frames per second of folders of frames; None: 30.
        clips: clips per video, for testing. (The test transform sets the crops.)
        max_missing: largest share (0..1) of absent videos of a list that is left out with a
            warning.

    Raises:
        UserError: no video is found, too many are absent, a row of the list cannot be read, a video
            has no class in ``classes``, or the number of classes differs from ``num_classes``.
    """
    if fps is not None:
        check_positive("video_classes", fps=fps)
    check_count("video_classes", clips=clips)
    check_share("video_classes", max_missing=max_missing)
    title = str(source)
    index, missing = find_videos(source, root)
    if not len(index.names):
        raise UserError(
            f"{title} has no video in its class folders (of {shorten_list(index.folders, 3)}), "
            f"only {index.ignored or 'nothing'}: add some; the frames of a video belong into a "
            "separate folder inside the class folder."
        )
    listed = len(missing) + len(index.names)
    absent = (
        f"{len(missing)} of {listed} videos are not in {index.source}",
        shorten_list(missing, 3),
    )
    if len(missing) > max_missing * listed:
        raise UserError(
            f"{title}: {absent[0]} ({absent[1]}), more than max_missing={max_missing} allows: "
            "correct the folder or the list, or raise max_missing."
        )
    options: Any = dict(classes=classes, same_classes_as=same_classes_as, num_classes=num_classes)
    labels, folders, names = labelled([index], title, "video", video_class_folders, **options)
    check_frame_folders(title, index.path, len(labels), index.frames)
    if missing:
        many = len(missing) > _MANY_MISSING * listed
        hint = " (is that the folder of this list?)" if many else ""
        logger.warning(
            "%s: %s%s and are left out: %s",
            *(title, absent[0], hint, absent[1]),
            extra={"summary": True},
        )
    if name is not None:
        register(name, folders, names, videos=len(labels), missing_videos=len(missing))
    index = replace(index, numbers=labels, rows=None)
    return VideoClasses(labels, folders, names, index, len(missing), clips, fps)


def video_views(dataset: Sequence[dict[str, Any]], *, clips: int) -> list[dict[str, Any]]:
    """Repeat each item for several clips; kept for older configs, which have a data set inside.

    Args:
        dataset: N items of videos.
        clips: clips per video, at least 1.

    Returns:
        N * clips dicts: each item with "clip" (0..clips - 1) and "clips".

    Raises:
        UserError: ``clips`` is not a positive integer.
    """
    check_count("video_views", clips=clips)
    return [{**item, "clip": k, "clips": clips} for item in dataset for k in range(clips)]


def video_class_folders(source: str | os.PathLike) -> list[str]:
    """List the classes of a source in the order of the labels.

    Returns:
        Class names; "0", "1", ... for a list with class indices only.

    Raises:
        UserError: the source cannot be read, or contradicts itself.
    """
    return classes_of([find_videos(source, names_only=True)[0]], str(source))


def count_videos(source: str | os.PathLike) -> int:
    """Count the videos of a source; for a list its rows, since the ``root`` is not known here.

    Raises:
        UserError: the source cannot be read, or contradicts itself.
    """
    listed = not resolve_path(source, "The folder or list of videos").is_dir()
    return len(find_videos(source, names_only=listed)[0].names)
