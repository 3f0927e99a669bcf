"""Search for videos in class folders, or for those of a list; folders of frames are videos too."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from mvit_det.data.discovery import FileIndex, from_class_folders, walk
from mvit_det.data.file_kinds import Skipped, is_hidden, is_image_name, is_video_name
from mvit_det.data.image_files import absent_files
from mvit_det.data.packed_text import PackedText
from mvit_det.data.paths import datasets_root, resolve_path
from mvit_det.data.video.lists import read_video_list
from mvit_det.errors import UserError, shorten_list

logger = logging.getLogger(__name__)

# Number of rows to try when searching the folder that a list's paths are relative to.
_TRIALS = 100
# Levels of folders that are searched for videos that a list names by an id alone.
_DEPTH = 3


def find_videos(
    source: str | os.PathLike, root: str | os.PathLike | None = None, *, names_only: bool = False
) -> tuple[FileIndex, list[str]]:
    """Find videos and their labels.

    Args:
        source: folder or list, as for `video_classes`.
        root: folder that the paths of a list are relative to, as for `video_classes`.
        names_only: True: read classes and labels, but do not search for the videos.

    Returns:
        The videos, and the names of those that a list has and that are absent.

    Raises:
        UserError: the source cannot be read, contradicts itself, or all of its videos are absent.
    """
    path = resolve_path(source, "The folder or list of videos")
    if path.is_dir():
        if root:
            raise UserError(
                f"root={root} is for lists of videos, but {source} is a folder: leave root out."
            )
        options: Any = dict(otherwise="give a list of videos instead", names_only=names_only)
        return from_class_folders(path, "video", is_video_name, _videos, **options), []
    rows, twice = _drop_repeated(path, read_video_list(path))
    ignored = [rows.ignored, f"{twice} rows that repeat a video" if twice else ""]
    folder, missing = path.parent, []
    if not names_only:
        folder = resolve_path(root, "The folder of the videos") if root else _root_of(path, rows)
        paths = (find_by_stem if rows.stems else _existing_paths)(rows.names, folder)
        missing = [name for name, video in zip(rows.names, paths) if video is None]
        if len(missing) == len(paths):
            raise UserError(_all_missing(path, folder, root, rows))
        present = {row: video for row, video in enumerate(paths) if video is not None}
        rows = replace(_select(rows, list(present)), names=list(present.values()))
    names, text = PackedText.of(rows.names), " and ".join(filter(None, ignored))
    return replace(rows, source=str(folder), names=names, ignored=text), missing


def _select(rows: FileIndex, kept: list[int]) -> FileIndex:
    names = [rows.names[row] for row in kept]
    assert rows.rows is not None  # as in all lists
    word, numbers = rows.rows
    frames = None if rows.frames is None else rows.frames[kept]
    changed: Any = dict(names=names, numbers=rows.numbers[kept], rows=(word, numbers[kept]))
    return replace(rows, frames=frames, **changed)


def _videos(root: Path, folder: str, skipped: Skipped) -> Iterator[str]:
    """Yield the videos below a class folder; a folder of pictures there is one video."""
    for here, subfolders, files in walk(root, folder, skipped):
        videos = [os.path.join(here, name) for name in files if is_video_name(name)]
        yield from videos
        if videos or here == folder or not any(map(is_image_name, files)):
            skipped.add(name for name in files if not is_video_name(name))
            continue
        # A picture may also be a cover image of the videos in the folders below.
        if not subfolders or not any(
            is_video_name(name) for _, _, more in walk(root, here) for name in more
        ):
            subfolders.clear()
            yield here


def _drop_repeated(path: Path, rows: FileIndex) -> tuple[FileIndex, int]:
    """Drop rows that repeat an earlier one, and count them; refuse contradicting ones."""
    first: dict[str, int] = {}
    kept = []
    for row, name in enumerate(rows.names):
        earlier = first.setdefault(name, row)
        if earlier == row:
            kept.append(row)
        elif rows.numbers[earlier] != rows.numbers[row]:
            assert rows.rows is not None  # as in all lists
            word, numbers = rows.rows
            labels = [rows.numbers[each] for each in (earlier, row)]
            classes = [rows.folders[label] for label in labels] if rows.folders else labels
            raise UserError(
                f"{path}: {name} has the label {classes[0]!s} in {word} {numbers[earlier]} and "
                f"{classes[1]!s} in {word} {numbers[row]}: delete one of them."
            )
    return _select(rows, kept), len(rows.names) - len(kept)


def _root_of(path: Path, rows: FileIndex) -> Path:
    """Return the folder that a list's paths are relative to: the first that has some of them."""
    folders = [path.parent.absolute(), Path.cwd(), datasets_root().absolute()]
    trials = rows.names[:: -(-len(rows.names) // _TRIALS)]
    if rows.stems:
        return folders[0]
    for folder in folders:
        if any(os.path.exists(folder / name) for name in trials):
            return folder
    return folders[0]


def _existing_paths(names: Sequence[str], folder: Path) -> list[str | None]:
    """Return the names, with None in place of those that do not exist."""
    start = os.path.join(folder, "")
    paths = [os.path.join(start, name) for name in names]
    absent = set(absent_files(paths))
    return [None if path in absent else name for path, name in zip(paths, names)]


def find_by_stem(stems: Sequence[str], root: Path) -> list[str | None]:
    """Find a file or a folder of frames for each stem, at most two folders deep.

    Args:
        stems: names of the videos without the ending of the file.
        root: folder to search.

    Returns:
        Per stem its path relative to ``root``, such as "train/abseiling/STEM.mp4"; None: absent.

    Raises:
        UserError: a folder cannot be read.
    """
    wanted = set(stems)
    known: dict[str, str] = {}
    repeated: set[str] = set()
    folders = [""]
    for _ in range(_DEPTH):
        paths, subfolders = zip(*(_search_folder(root, folder, wanted) for folder in folders))
        for part in paths:
            repeated |= known.keys() & part
            known |= part
        folders = list(chain(*subfolders))
        # Do not search deeper: listing the frames of other videos would take minutes.
        if 2 * len(known) > len(wanted) or not folders:
            break
    if repeated:
        logger.warning(
            "%s has %d videos in several folders, of which one is used, such as %s: move the "
            "others away.",
            *(root, len(repeated), shorten_list((known[stem] for stem in sorted(repeated)), 3)),
        )
    return [known.get(stem) for stem in stems]


def _search_folder(root: Path, folder: str, wanted: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return {stem: path relative to the root} of one folder, and the other folders in it."""
    paths: dict[str, str] = {}
    subfolders, twice = [], []
    try:
        with os.scandir(root / folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"Folder {root / folder} cannot be read ({error.strerror}): correct `root`, or its "
            "permissions."
        ) from error
    for entry in entries:
        stem, path = os.path.splitext(entry.name)[0], os.path.join(folder, entry.name)
        if stem in wanted and is_video_name(entry.name):
            if is_video_name(paths.get(stem, "")):
                twice.append(paths[stem])
            paths[stem] = path
        elif not is_hidden(entry.name) and entry.is_dir():
            if entry.name in wanted:
                paths.setdefault(entry.name, path)
            else:
                subfolders.append(path)
    if twice:
        logger.warning(
            "%s has several videos that differ only in the ending, so these %d are not used: %s",
            *(root / folder, len(twice), shorten_list(twice)),
        )
    return paths, subfolders


def _all_missing(path: Path, folder: Path, root: str | os.PathLike | None, rows: FileIndex) -> str:
    what = "exists, but not one" if folder.is_dir() else "is a file, so none"
    example = rows.names[0]
    if rows.stems:
        example += ".mp4, .webm, ... or a folder of frames with that name"
    fix = "correct root" if root else "give their folder as root of the data set"
    return (
        f"Video folder {folder} {what} of the {len(rows.names)} videos of {path} is there (looked "
        f"for {example}): {fix}, or the list."
    )
