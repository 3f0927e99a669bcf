"""Looking for images below a folder: in class folders, or in tar files."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mvit_det.data.coco import datasets_root
from mvit_det.data.images import is_image_name
from mvit_det.data.packed import PackedText
from mvit_det.data.shards import shard_index
from mvit_det.errors import UserError, some, writable


@dataclass(frozen=True)
class FoundFiles:
    """Images or videos below one root, in one tar file, or of one list.

    Attributes:
        source: the folder or the tar file.
        names: of the files inside it.
        numbers: per file its row in ``folders``, or its label where there are none.
        folders: the classes.
        places: None, or offset and size in bytes of each file in the tar file: (2, N).
        ignored: in words, what of the source is not used; "" if nothing.
        list_file: that names the files; "" if they were found by looking.
        rows: per file its row in that list, and what such a row is called there.
        ordered: the order of ``folders`` is that of the labels.
    """

    source: str
    names: PackedText
    numbers: np.ndarray
    folders: list[str]
    places: np.ndarray | None
    ignored: str
    list_file: str = ""
    rows: tuple[str, np.ndarray] | None = None
    ordered: bool = False

    def place(self, index: int) -> str:
        """Where the label of a file comes from, for a message."""
        if self.rows is None:
            return self.source
        word, numbers = self.rows
        return f"{self.list_file}, {word} {numbers[index]},"


def located(path: str | os.PathLike, what: str = "Image folder") -> Path:
    """A path as seen from the working directory, or else from the datasets folder."""
    places = [Path(path).expanduser(), datasets_root() / path]
    for place in places:
        if place.exists():
            return place
    looked = " and ".join(str(place) for place in dict.fromkeys(map(Path.absolute, places)))
    raise UserError(
        f"{what} {path} does not exist (looked for {looked}): correct the path, or set "
        "DETECTRON2_DATASETS as datasets/README.md shows."
    )


def find_images(root: Path, names_only: bool = False) -> list[FoundFiles]:
    """What is below one root; with ``names_only`` the files of class folders are not looked for."""
    if root.is_file():
        return _from_shards([root])
    inside = visible(root)
    shards = [root / name for name in inside if name.endswith(".tar")]
    folders = [name for name in inside if (root / name).is_dir()]
    if shards and folders:
        raise UserError(
            f"{root} holds tar files ({some([path.name for path in shards], 2)}) and folders "
            f"({some(folders, 2)}), which may be the same images: move one kind away."
        )
    if shards:
        return _from_shards(shards)
    if not folders:
        raise UserError(_why_nothing(root, inside))
    outside = sum(map(is_image_name, inside))
    ignored = f"{outside} images that are in no class folder" if outside else ""
    return [from_folders(root, folders, _images, ignored, names_only)]


def visible(folder: Path) -> list[str]:
    """What a folder holds, sorted, without hidden files."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> UserError:
    return UserError(
        f"Folder {error.filename} cannot be read ({error.strerror}): correct its permissions or disk."
    )


def _why_nothing(root: Path, inside: list[str]) -> str:
    if any(name.endswith((".tgz", ".gz", ".bz2", ".xz", ".zst")) for name in inside):
        return f"{root} holds compressed archives: unpack them to plain .tar files, or to folders."
    images = sum(map(is_image_name, inside))
    what = f"{images} images, but no class folders" if images else "neither folders nor tar files"
    return f"{root} holds {what}: make one folder per class, and put the images of the class there."


def from_folders(
    root: Path,
    folders: list[str],
    files: Callable[[Path, str], Iterable[str]],
    ignored: str,
    names_only: bool,
) -> FoundFiles:
    """What ``files`` finds in each of the class folders below a root."""
    strange = [folder for folder in folders if writable(folder) != folder]
    if strange:
        raise UserError(
            f"{root} has class folders whose names are not UTF-8 ({some(strange)}): rename them."
        )
    # Packed folder by folder: as a list, millions of names would take gigabytes.
    packed = [PackedText.of([] if names_only else files(root, folder)) for folder in folders]
    numbers = np.repeat(np.arange(len(folders)), list(map(len, packed)))
    return FoundFiles(str(root), PackedText.joined(packed), numbers, folders, None, ignored)


def walk(root: Path, folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk` below ``folder``, in an order that does not depend on the disk; nothing hidden.

    Folders are seen from the root; links are followed, but for those to a folder that they are in.
    """

    def fail(error: OSError) -> None:
        raise _unreadable(error) from error

    top = len(os.path.join(root, ""))
    for here, inside, files in os.walk(os.path.join(root, folder), onerror=fail, followlinks=True):
        inside[:] = sorted(
            name
            for name in inside
            if not name.startswith(".") and not _leads_back(os.path.join(here, name))
        )
        yield here[top:], inside, sorted(name for name in files if not name.startswith("."))


def _leads_back(path: str) -> bool:
    """Whether a folder is a link to one above it, whose files would be found dozens of times."""
    if not os.path.islink(path):
        return False
    target, here = os.path.realpath(path), os.path.realpath(os.path.dirname(path))
    return os.path.commonpath([target, here]) == target


def _images(root: Path, folder: str) -> Iterator[str]:
    """Images below a class folder, seen from the root."""
    for here, _, files in walk(root, folder):
        yield from (os.path.join(here, name) for name in files if is_image_name(name))


def _from_shards(shards: list[Path]) -> list[FoundFiles]:
    progress = tqdm(shards, "Index of tar files", disable=len(shards) < 10, leave=False)
    indexes = [shard_index(shard) for shard in progress]
    inside = [folder for index in indexes for folder in index.folders if folder]
    depth = _common_depth([folder.split("/") for folder in inside])
    parts = []
    for shard, index in zip(shards, indexes):
        ignored = f"{index.unlabelled} images without a label" if index.unlabelled else ""
        classes = [folder.split("/")[depth] if folder else shard.stem for folder in index.folders]
        folders = sorted(set(classes))
        row_of = {folder: row for row, folder in enumerate(folders)}
        rows = np.array([row_of[name] for name in classes], dtype=np.int64)
        numbers = rows[index.numbers] if folders else index.numbers
        places = np.stack([index.offsets, index.sizes])
        parts.append(FoundFiles(str(shard), index.names, numbers, folders, places, ignored))
    return parts


def _common_depth(folders: list[list[str]]) -> int:
    """How many folders all images share above their class folder, as in train/cat, train/dog."""
    depth = 0
    while (
        folders
        and all(len(folder) > depth + 1 for folder in folders)
        and len({folder[depth] for folder in folders}) == 1
    ):
        depth += 1
    return depth
