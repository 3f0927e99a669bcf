"""Files and folders that are there completely or not at all, and files that are parsed only once."""

import functools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from mvit_det.errors import UserError

PARTIAL = ".partial"
KEPT_BYTES = 1 << 26  # of files whose content is kept; JSON takes five times as much in memory
_RECENT = 2 * 10**9  # ns: the coarsest times of change that file systems have

Reader = TypeVar("Reader", bound=Callable)
_kept: dict[tuple, tuple[int, Any]] = {}  # the most recently used last: bytes of the file, content


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


def parsed_once(read: Reader) -> Reader:
    """Let a function of a path, and perhaps more, read a file anew only when it has changed.

    What it returns is shared by all callers, so none may change it. Files of `KEPT_BYTES` in all are
    kept, those that were used last; a larger one is read each time, and so is one that was written
    within the last two seconds, since another change of it may bear the same time.
    """

    @functools.wraps(read)
    def wrapper(path, *more):
        try:
            file = os.stat(path)
        except OSError:
            return read(path, *more)  # which says what is wrong
        state = file.st_ino, file.st_size, file.st_mtime_ns
        key = (read, os.path.abspath(path), *state, *more)
        if key in _kept:
            _kept[key] = _kept.pop(key)
            return _kept[key][1]
        settled = time.time_ns() - file.st_mtime_ns > _RECENT
        content = read(path, *more)
        if settled and file.st_size <= KEPT_BYTES:
            _kept[key] = file.st_size, content
            while sum(size for size, _ in _kept.values()) > KEPT_BYTES:
                _kept.pop(next(iter(_kept)))
        return content

    return wrapper


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


@parsed_once
def read_json(path: str | os.PathLike, what: str) -> Any:
    """Parse a file, once (`parsed_once`); ``what`` names it in the sentence that a fault ends in.

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
