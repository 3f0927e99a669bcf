"""Files from the network in iopath's cache: whole and checked, or not there.

iopath downloads to a temporary name, refuses what is shorter than the server announced, and shows
progress. It tries once, waits for ever when a connection falls silent, looks at no checksum, takes
all that came where nothing was announced, and knows files by their path alone, whatever the host.
"""

import errno
import hashlib
import logging
import os
import shutil
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

import portalocker
from iopath.common.file_io import HTTPURLHandler, PathManager, file_lock, get_cache_dir

from mvit_det.errors import UserError

logger = logging.getLogger(__name__)

ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt; twice as long before each one after it
SILENCE = 60.0  # seconds without a byte, after which a connection counts as cut
# Its files lie where Detectron2 keeps them, so that neither downloads what the other has. Files of
# all other hosts get a folder per host, since two hosts may name different files alike.
DETECTRON2_HOST = "dl.fbaipublicfiles.com"
NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
NOT_WRITABLE |= {errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR}
TRY_AGAIN = {408, 425, 429}  # the client errors of HTTP that pass

_paths = PathManager()
_paths.register_handler(HTTPURLHandler())


def download(url: str, checksum: str = "") -> str:
    """Bring a file into the cache, unless it is there; several processes may ask at once.

    A file gets its name in the cache after it has been checked. What is cut off or damaged is
    removed and fetched anew, ``ATTEMPTS`` times in all.

    Args:
        url: http:// or https://
        checksum: "algorithm:first digits in hexadecimal", or "" where nothing is known. A file in
            the cache is held against it as well.

    Returns:
        The path of the file, below $FVCORE_CACHE, or ~/.torch/iopath_cache.

    Raises:
        UserError: no connection, the server refuses, the file is damaged each time, or the cache
            cannot be written.
    """
    path = cache_path(url)
    try:
        if os.path.isfile(path) and not damage_of(path, checksum):
            return path
        with file_lock(path):
            _mend(url, path, checksum)
    except portalocker.LockException as error:
        raise UserError(
            f"{path} is not free ({error!r}): another process has been downloading {url} for an "
            "hour, or the file system has no locks; start again later, or set FVCORE_CACHE to a "
            "folder on another disk."
        ) from error
    except OSError as error:
        raise UserError(
            f"{url} cannot be written to {path} ({_reason(error)}): make room, or set FVCORE_CACHE "
            "to a folder that can be written to and has room."
        ) from error
    return path


def cache_path(url: str) -> str:
    """Where the cache has the file of a URL, or would have it.

    Raises:
        UserError: the URL names no file.
    """
    parts = urlsplit(url)
    *folders, name = parts.path.lstrip("/").split("/")
    if not (parts.netloc and name) or {".", ".."} & {*folders, name}:
        raise UserError(f"{url} names no file: give a URL that ends in the name of one.")
    if parts.netloc != DETECTRON2_HOST:
        folders.insert(0, parts.netloc.replace(":", "_"))
    if parts.query:
        name += "_" + quote(parts.query, safe="")  # Detectron2 would take a "?" for a query again
    return os.path.join(get_cache_dir(), *folders, name)


def damage_of(path: str, checksum: str = "") -> str | None:
    """What shows that a downloaded file is not the published one; None if nothing does.

    Besides the checksum: a page that a proxy puts in the place of a file, and an archive without
    its end, as when the server did not announce a length and the connection was cut.
    """
    with open(path, "rb") as file:
        start = file.read(512)
        if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
            return "it is a web page, as a proxy or a login sends in place of a file"
        if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(file):
            return "its end is missing"
        if not checksum:
            return None
        algorithm, expected = checksum.split(":")
        digest = hashlib.new(algorithm, usedforsecurity=False)
        file.seek(0)
        while block := file.read(2**20):
            digest.update(block)
    found = digest.hexdigest()[: len(expected)]
    return None if found == expected else f"its {algorithm} starts with {found}, not {expected}"


def _mend(url: str, path: str, checksum: str) -> None:
    """Fetch what is absent or damaged, unless another process has done so in the meantime."""
    if os.path.isfile(path):
        damage = damage_of(path, checksum)
        if damage is None:
            return
        logger.warning("Removing %s from the cache: %s.", path, damage)
        os.unlink(path)
    _download(url, path, checksum)


def _download(url: str, path: str, checksum: str) -> None:
    """Fetch, check, and only then give the file its name.

    Raises:
        UserError: the file cannot be had.
        OSError: it cannot be written.
    """
    arrivals, reason = path + ".download", None
    try:
        for attempt in range(ATTEMPTS):
            if reason:
                pause = PAUSE * 2 ** (attempt - 1)
                logger.warning("%s: %s; trying again in %g s.", url, reason, pause)
                time.sleep(pause)
            try:
                arrived = _retrieve(url, arrivals)
                reason = damage_of(arrived, checksum)
                if reason is None:
                    os.replace(arrived, path)
                    return
                os.unlink(arrived)
            except HTTPError as error:
                reason = _reason(error)
                if 400 <= error.code < 500 and error.code not in TRY_AGAIN:
                    break
            except (OSError, HTTPException) as error:
                if getattr(error, "errno", None) in NOT_WRITABLE:
                    raise
                reason = _reason(error)
    finally:
        shutil.rmtree(arrivals, ignore_errors=True)
    raise UserError(
        f"{url} cannot be downloaded ({reason}): check the network and the address, or get the file "
        f"by other means and put it at {path}, or give the path of your copy in place of the name."
    )


def _retrieve(url: str, folder: str) -> str:
    """One attempt of iopath, into a folder of its own."""
    os.makedirs(folder, exist_ok=True)  # iopath would turn to another folder where this fails
    with _silence_ends_connections():
        return _paths.get_local_path(url, force=True, cache_dir=folder)


@contextmanager
def _silence_ends_connections() -> Iterator[None]:
    """Time out connections that are opened here, which iopath does not offer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE if before is None else before)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: BaseException) -> str:
    """An error in words, without the address, which the sentence around it names."""
    if isinstance(error, HTTPError):
        absent = error.code in (403, 404, 410)
        hint = "; the file may have moved, or need a login" if absent else ""
        return f"HTTP {error.code} {error.reason}{hint}"
    error = getattr(error, "reason", error)  # what urllib wraps
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
