"""Files and folders that are there completely or not at all, and what keeps one from being read."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mvit_det.errors import UserError

PARTIAL = ".partial"


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to; rename it when the block has succeeded.

    The content reaches the disk before the name does, so that after a crash or a loss of power
    ``path`` holds the old content or the new one, never a part. After an exception the temporary
    file is removed; after ``kill -9`` it stays, ends in ``.partial``, and is overwritten next time.
    """
    path = Path(path)
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        _flush(partial)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    _flush(path.parent)  # the new name as well


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse it for folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(folder: str | os.PathLike, what: str, fix: str) -> Iterator[Path]:
    """Give an empty folder beside ``folder`` to write into; rename it when the block has succeeded.

    Where two processes write at once, the one that ends first is kept. After an exception nothing
    is left.

    Args:
        what, fix: of the sentence that ends the run where nothing can be written.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(
            f"Cannot write {what} to {folder.parent} ({error.strerror}): {fix}"
        ) from error
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp lets nobody else read
        draft.rename(folder)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        # Renaming onto a folder that another process has finished meanwhile fails.
        if not (isinstance(error, OSError) and folder.exists()):
            raise


@contextmanager
def readable(path: str | os.PathLike, what: str, fix: str) -> Iterator[None]:
    """End in one sentence where the block cannot open or read a file.

    Args:
        what, fix: of that sentence, "{what} {path} cannot be read as text (...): {fix}."
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(
            f"{what} {path} does not exist (looked from {os.getcwd()}): correct the path."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what} {path} cannot be read as text ({error}): {fix}.") from error


def read_json(path: str | os.PathLike, what: str) -> Any:
    """Parse a file; ``what`` names it in the sentence that a fault ends in.

    Raises:
        UserError: the file is absent, no text, or no JSON.
    """
    try:
        with readable(path, what, "give the path of a JSON file"):
            return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{what} {path} is no valid JSON: line {error.lineno}, column {error.colno}: "
            f"{error.msg}; write the file anew."
        ) from error
