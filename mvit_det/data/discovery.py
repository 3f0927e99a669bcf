"""Search for files below a folder, by class folder, and the index of the files found."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvit_det.data.file_kinds import Skipped, is_hidden
from mvit_det.data.packed_text import PackedText
from mvit_det.errors import UserError, printable, shorten_list


@dataclass(frozen=True)
class FileIndex:
    """Images or videos below one root, in one tar file, or of one list.

    Attributes:
        source: the folder or the tar file; "" for a list whose files have not been searched for.
        names: (N,) names of the files or folders of frames, relative to ``source``.
        numbers: (N,) int64, index into ``folders``, or the label itself if ``folders`` is empty.
        folders: the classes.
        places: (2, N) int64, offset and size in bytes of each file in the tar file; else None.
        ignored: in words, what is not used; "" if nothing.
        list_file: path of the list that names the files; "" if they were found in folders.
        rows: the word for a row of that list, such as "line", and (N,) the row of each file.
        ordered: True: the order of ``folders`` is that of the labels.
        stems: True: ``names`` lack the folder and the ending of the file.
        frames: (N,) int64, number of frames in each folder by the list; None: it does not say.
    """

    source: str
    names: Sequence[str]
    numbers: np.ndarray
    folders: list[str]
    places: np.ndarray | None = None
    ignored: str = ""
    list_file: str = ""
    rows: tuple[str, np.ndarray] | None = None
    ordered: bool = False
    stems: bool = False
    frames: np.ndarray | None = None

    def path(self, index: int) -> str:
        """Join the source and a file's name; in a tar file: its path, then the name inside it."""
        return os.path.join(self.source, self.names[index])

    def place(self, index: int) -> str:
        """Name the source of a file's label for a message: the folder, or a row of the list."""
        if self.rows is None:
            return self.source
        word, numbers = self.rows
        return f"{self.list_file}, {word} {numbers[index]},"


def list_folder(folder: Path) -> list[str]:
    """Return the names in a folder, sorted, without hidden ones and those of operating systems.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not is_hidden(name))
    except OSError as error:
        raise _unreadable_folder(error) from error


def _unreadable_folder(error: OSError) -> UserError:
    return UserError(
        f"Folder {error.filename} cannot be read ({error.strerror}): correct permissions or disk."
    )


def from_class_folders(
    root: Path,
    kind: str,
    is_kind: Callable[[str], bool],
    files: Callable[[Path, str, Skipped], Iterable[str]],
    otherwise: str,
    names_only: bool,
) -> FileIndex:
    """Index the files in each of the class folders below a root.

    Args:
        root: folder with one folder per class.
        kind: what the files are, in one word: "image" or "video".
        is_kind: whether a file name is of that kind.
        files: yields the files below a class folder, relative to the root: called with the root,
            the class folder, and the counter of skipped files.
        otherwise: the alternative to class folders, for a message.
        names_only: True: list the class folders, but not the files in them.

    Raises:
        UserError: a folder cannot be read, there are no class folders, or their names are not
            UTF-8.
    """
    inside = list_folder(root)
    folders = [name for name in inside if (root / name).is_dir()]
    outside = sum(map(is_kind, inside))
    if not folders:
        what = f"{outside} {kind}s, but no class folders" if outside else "no class folders"
        raise UserError(
            f"{root} has {what}: make one folder per class and put the {kind}s of the class "
            f"there, or {otherwise}."
        )
    strange = [folder for folder in folders if printable(folder) != folder]
    if strange:
        raise UserError(
            f"{root} has class folders whose names are not UTF-8 ({shorten_list(strange)}): "
            "rename them."
        )
    # Packed folder by folder: as a list, millions of names would take gigabytes.
    skipped = Skipped()
    packed = [
        PackedText.of([] if names_only else files(root, folder, skipped)) for folder in folders
    ]
    hidden = [name for name in os.listdir(root) if is_hidden(name)]
    skipped.add_hidden(hidden)
    system = [name for name in hidden if not name.startswith(".")]
    ignored = [f"{outside} {kind}s that are in no class folder" if outside else "", str(skipped)]
    ignored += [f"the folder {name} of the operating system" for name in sorted(system)]
    both = " and ".join(filter(None, ignored))
    numbers = np.repeat(np.arange(len(folders)), list(map(len, packed)))
    return FileIndex(str(root), PackedText.joined(packed), numbers, folders, ignored=both)


def walk(
    root: Path, folder: str, skipped: Skipped | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk like `os.walk` below ``folder`` in sorted order, without hidden files and folders.

    Yields folders relative to ``root``. Links are followed, except those to a folder above them.
    Hidden pictures and videos are added to ``skipped``.

    Raises:
        UserError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise _unreadable_folder(error) from error

    top = len(os.path.join(root, ""))
    for here, inside, files in os.walk(os.path.join(root, folder), onerror=fail, followlinks=True):
        inside[:] = sorted(
            name
            for name in inside
            if not is_hidden(name) and not _leads_back(os.path.join(here, name))
        )
        if skipped is not None:
            skipped.add_hidden(files)
        yield here[top:], inside, sorted(name for name in files if not is_hidden(name))


def _leads_back(path: str) -> bool:
    """Return whether a path is a link to a folder above it, which would be walked in a loop."""
    if not os.path.islink(path):
        return False
    target, here = os.path.realpath(path), os.path.realpath(os.path.dirname(path))
    return os.path.commonpath([target, here]) == target
