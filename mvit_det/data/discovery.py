"""Looking for images below a folder: in class folders, or in tar files."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvit_det.data.file_kinds import Skipped
from mvit_det.data.packed_text import PackedText
from mvit_det.errors import UserError, printable, some


@dataclass(frozen=True)
class FileIndex:
    """Images or videos below one root, in one tar file, or of one list.

    Attributes:
        source: the folder or the tar file; "" as long as those of a list are not looked for.
        names: of the files, or folders of frames, inside it.
        numbers: per file its row in ``folders``, or its label where there are none.
        folders: the classes.
        places: None, or offset and size in bytes of each file in the tar file: (2, N).
        ignored: in words, what of the source is not used; "" if nothing.
        list_file: that names the files; "" if they were found by looking.
        rows: per file its row in that list, and what such a row is called there.
        ordered: the order of ``folders`` is that of the labels.
        stems: ``names`` lack the ending, and the folder that the videos are in.
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

    def path(self, index: int) -> str:
        """Where a file lies, or of one in a tar file, the tar file's path and its name inside."""
        return os.path.join(self.source, self.names[index])

    def place(self, index: int) -> str:
        """Where the label of a file comes from, for a message."""
        if self.rows is None:
            return self.source
        word, numbers = self.rows
        return f"{self.list_file}, {word} {numbers[index]},"


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


def from_class_folders(
    root: Path,
    kind: str,
    is_kind: Callable[[str], bool],
    files: Callable[[Path, str, Skipped], Iterable[str]],
    *,
    otherwise: str,
    names_only: bool,
) -> FileIndex:
    """What ``files`` finds in each of the class folders below a root; it counts what it skips.

    Args:
        kind, is_kind: what the files are, in one word, and whether a name is of one.
        otherwise: what else to do where there are no class folders, for the message.
        names_only: do not look for the files.
    """
    inside = visible(root)
    folders = [name for name in inside if (root / name).is_dir()]
    outside = sum(map(is_kind, inside))
    if not folders:
        what = f"{outside} {kind}s, but no class folders" if outside else "no class folders"
        raise UserError(
            f"{root} holds {what}: make one folder per class and put the {kind}s of the class there, "
            f"or {otherwise}."
        )
    strange = [folder for folder in folders if printable(folder) != folder]
    if strange:
        raise UserError(
            f"{root} has class folders whose names are not UTF-8 ({some(strange)}): rename them."
        )
    # Packed folder by folder: as a list, millions of names would take gigabytes.
    skipped = Skipped()
    packed = [
        PackedText.of([] if names_only else files(root, folder, skipped)) for folder in folders
    ]
    ignored = [f"{outside} {kind}s that are in no class folder" if outside else "", str(skipped)]
    both = " and ".join(filter(None, ignored))
    numbers = np.repeat(np.arange(len(folders)), list(map(len, packed)))
    return FileIndex(str(root), PackedText.joined(packed), numbers, folders, ignored=both)


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
