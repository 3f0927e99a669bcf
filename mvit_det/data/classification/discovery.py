"""Search for images below a folder: in class folders, or in tar files."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mvit_det.data.classification.tar_files import shard_index
from mvit_det.data.discovery import FileIndex, from_class_folders, list_folder, walk
from mvit_det.data.file_kinds import Skipped, is_image_name
from mvit_det.errors import UserError, shorten_list

_COMPRESSED = (".tgz", ".gz", ".bz2", ".xz", ".zst")


def find_images(root: Path, names_only: bool = False) -> list[FileIndex]:
    """Find the images below one root: one `FileIndex`, or one per tar file.

    Args:
        root: a folder or a tar file.
        names_only: True: list the class folders, but not the files in them.

    Raises:
        UserError: the folder cannot be read, has no classes, has both tar files and folders, or has
            only compressed archives.
    """
    if root.is_file():
        return _from_shards([root])
    inside = list_folder(root)
    shards = [root / name for name in inside if name.endswith(".tar")]
    folders = [name for name in inside if (root / name).is_dir()]
    if shards and folders:
        raise UserError(
            f"{root} has tar files ({shorten_list([path.name for path in shards], 2)}) and "
            f"folders ({shorten_list(folders, 2)}), which may be the same images: move one kind "
            "away."
        )
    if shards:
        return _from_shards(shards)
    if not folders and any(name.endswith(_COMPRESSED) for name in inside):
        raise UserError(
            f"{root} has compressed archives: unpack them to plain .tar files, or to folders."
        )
    otherwise = "the tar files of them here"
    return [from_class_folders(root, "image", is_image_name, _walk_images, otherwise, names_only)]


def _walk_images(root: Path, folder: str, skipped: Skipped) -> Iterator[str]:
    """Yield the images below a class folder, as paths relative to the root."""
    for here, _, files in walk(root, folder, skipped):
        images = list(filter(is_image_name, files))
        yield from (os.path.join(here, name) for name in images)
        if len(images) < len(files):
            skipped.add(name for name in files if not is_image_name(name))


def _from_shards(shards: list[Path]) -> list[FileIndex]:
    progress = tqdm(shards, "Index of tar files", disable=len(shards) < 10, leave=False)
    indexes = [shard_index(shard) for shard in progress]
    inside = [folder for index in indexes for folder in index.folders if folder]
    depth = _common_depth([folder.split("/") for folder in inside])
    parts = []
    for shard, index in zip(shards, indexes):
        classes = [folder.split("/")[depth] if folder else shard.stem for folder in index.folders]
        folders, rows = np.unique(classes, return_inverse=True)
        numbers = rows[index.numbers] if classes else index.numbers
        parts.append(replace(index, folders=folders.tolist(), numbers=numbers))
    return parts


def _common_depth(folders: list[list[str]]) -> int:
    """Count the common folders above the class folders: 1 for train/cat, train/dog."""
    depth = 0
    while (
        folders
        and all(len(folder) > depth + 1 for folder in folders)
        and len({folder[depth] for folder in folders}) == 1
    ):
        depth += 1
    return depth
