"""Files and folders that are written completely or not at all; a cache of parsed files."""

import functools
import gc
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from filelock import lock_descriptor

from mvit_det.errors import UserError

PARTIAL = ".partial"
_STALE = re.compile(r"\.[0-9a-f]{16}\.partial$")
KEPT_BYTES = 1 << 26  # total size of cached files; parsed JSON takes five times as much memory
_RECENT = 2 * 10**9  # ns: the coarsest resolution of modification times among file systems

Reader = TypeVar("Reader", bound=Callable)
# by path and state of a file, most recently used last: size in bytes, content by reader
_cache: dict[tuple, tuple[int, dict[tuple, Any]]] = {}
_collected: bool | None = None  # within `reading_once`: whether garbage was collected before it


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; rename it to ``path`` when the block succeeds.

    The content reaches the disk before the name does, so that after a crash or a power failure
    ``path`` has the old content or the new one, never a part. The temporary file is new and its
    name is random, so that nobody can have put a link there. After an exception it is removed;
    after ``kill -9`` it stays until another process writes to that folder.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    _remove_stale(path.parent.absolute())
    partial, lock = _create(path)
    try:
        yield partial
        _flush(partial)
        if sys.platform == "win32":
            lock.close()  # an open file cannot be renamed there
        os.replace(partial, path)
    except BaseException:
        lock.close()
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    finally:
        lock.close()
    _flush(path.parent)  # the new name as well


def _create(path: Path) -> tuple[Path, IO[bytes]]:
    """Create a temporary file for ``path``, and lock it for as long as it is being written.

    Windows needs no lock: an open file cannot be removed there, and a locked one not be written.
    """
    while True:
        # A name has at most 255 bytes, of which a character takes up to four.
        partial = path.with_name(f"{path.name[:50]}.{secrets.token_hex(8)}{PARTIAL}")
        lock = open(partial, "xb")
        if sys.platform != "win32":
            with suppress(OSError):  # some file systems have no locks
                lock_descriptor(lock.fileno())
        if os.path.exists(partial):
            return partial, lock
        lock.close()  # another process took it for stale before the lock


@functools.cache
def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left in a folder, once per process; not what others write."""
    try:
        names = os.listdir(folder)
    except OSError:
        return  # which the caller's own attempt explains
    for name in filter(_STALE.search, names):
        with suppress(OSError):
            if sys.platform == "win32":
                os.unlink(folder / name)  # raises an error if somebody writes the file
                continue
            lock = os.open(folder / name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if lock_descriptor(lock, blocking=False):  # nobody writes the file
                    os.unlink(folder / name)
            finally:
                os.close(lock)


def _flush(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk."""
    windows = sys.platform == "win32"  # which has no such call for folders
    if windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse it for folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(folder: str | os.PathLike, what: str, fix: str) -> Iterator[Path]:
    """Yield an empty folder next to ``folder``; rename it to ``folder`` when the block succeeds.

    If two processes write at once, the first one to finish wins. After an exception nothing is
    left.

    Args:
        folder: final path.
        what: what is written, for the message.
        fix: what the user can do if it cannot be written, for the message.

    Raises:
        UserError: the parent folder is not writable.
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
        draft.chmod(0o755)  # mkdtemp makes it unreadable for other users
        draft.rename(folder)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        # Renaming onto a folder that another process has finished meanwhile fails.
        if not (isinstance(error, OSError) and folder.exists()):
            raise


def parsed_once(read: Reader) -> Reader:
    """Cache the results of a function of a path (and further arguments) until the file changes.

    All callers share the result, so none may modify it. The least recently used results are
    dropped when the files exceed `KEPT_BYTES` in total, except within `reading_once`. A larger file
    is read on each call, and so is one that was written within the last two seconds: a further
    change might have the same time.
    """

    @functools.wraps(read)
    def wrapper(path, *more):
        try:
            file = os.stat(path)
        except OSError:
            return read(path, *more)  # which raises an error that names the fault
        key = os.path.abspath(path), file.st_ino, file.st_size, file.st_mtime_ns
        way = read, *more
        if key in _cache and way in _cache[key][1]:
            _cache[key] = _cache.pop(key)
            return _cache[key][1][way]
        settled = time.time_ns() - file.st_mtime_ns > _RECENT
        content = read(path, *more)
        if settled:
            _, contents = _cache.pop(key, (0, {}))
            _cache[key] = file.st_size, {**contents, way: content}
            _drop_old()
        return content

    return cast(Reader, wrapper)


def _drop_old() -> None:
    """Apply the limit to the cache: first to files that are too large on their own."""
    if _collected is not None:
        return
    for key in [key for key, (size, _) in _cache.items() if size > KEPT_BYTES]:
        del _cache[key]
    while sum(size for size, _ in _cache.values()) > KEPT_BYTES:
        del _cache[next(iter(_cache))]


@contextmanager
def reading_once() -> Iterator[None]:
    """Keep all that `parsed_once` returns in the block, of files of any size.

    A start ends where all data sets are built: when the first block ends, also if it is within
    another, the limit holds again and large contents are freed. Until then the search for
    reference cycles pauses, which would go through millions of objects again and again.
    """
    global _collected
    if _collected is None:
        _collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _collected:
            gc.enable()
        _collected = None
        _drop_old()


@contextmanager
def readable(path: str | os.PathLike, what: str, fix: str) -> Iterator[None]:
    """Turn a failure of the block to open or decode a file into a `UserError`.

    Args:
        path: of the file.
        what: how the message begins: "{what} {path} cannot be read as text (...): {fix}."
        fix: how the message ends.

    Raises:
        UserError: the file does not exist, cannot be read, or is not UTF-8.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(
            f"{what} {path} does not exist (looked from {os.getcwd()}): correct the path."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what} {path} cannot be read as text ({error}): {fix}.") from error


def parse_json(
    path: str | os.PathLike, what: str, hook: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    """Parse a JSON file, with or without a byte order mark.

    Args:
        path: of the file.
        what: how error messages begin.
        hook: called with each object of the file; returns what takes its place.

    Raises:
        UserError: the file is absent, not UTF-8, or not valid JSON.
    """
    encoding = "utf-8-sig"  # a byte order mark is skipped
    with (
        readable(path, what, "give the path of a JSON file"),
        open(path, encoding=encoding) as file,
    ):
        try:
            return json.load(file, object_hook=hook)
        except UnicodeDecodeError:
            raise
        except json.JSONDecodeError as error:
            raise UserError(
                f"{what} {path} is not valid JSON: line {error.lineno}, column {error.colno}: "
                f"{error.msg}; correct it there."
            ) from error
        except (RecursionError, ValueError) as error:
            fault = "lists in lists" if isinstance(error, RecursionError) else "a number"
            raise UserError(
                f"{what} {path} cannot be read: it has {fault} beyond any use ({error}); "
                "regenerate the file."
            ) from error


read_json = parsed_once(parse_json)
