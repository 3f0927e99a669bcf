"""Download files into iopath's cache, complete and checked.

`torch.hub.download_url_to_file` and iopath's own handler do not suffice: both try once, wait for
ever on a stalled connection, and accept a truncated file if no length was announced. iopath checks
no checksum and identifies files by path alone, whatever the host; torch.hub accepts a file that is
shorter than announced.
"""

import hashlib
import logging
import os
import time
import zipfile
from collections.abc import Iterator
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import portalocker
from iopath.common.file_io import file_lock, get_cache_dir
from tqdm import tqdm

from mvit_det.checkpoint.reading import WEB_PAGE
from mvit_det.errors import UserError
from mvit_det.files import atomic_file

logger = logging.getLogger(__name__)

ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt; doubles with each further attempt
SILENCE = 60.0  # seconds without a byte after which a connection counts as lost
BLOCK = 2**20  # bytes
# Files of this host are cached where Detectron2 caches them, so that the cache is shared. All other
# hosts get a folder each, since two hosts may have different files of the same name.
DETECTRON2_HOST = "dl.fbaipublicfiles.com"
TRY_AGAIN = {408, 425, 429}  # HTTP client errors that are temporary


class Failed(Exception):
    """One attempt has failed; the message is the reason. ``final``: a retry would fail too."""

    def __init__(self, reason: str, final: bool = False):
        super().__init__(reason)
        self.final = final


def download(url: str, checksum: str = "") -> str:
    """Download a file into the cache, unless it is there; safe for concurrent processes.

    A file gets its final name only after it has been checked. Truncated or damaged files are
    removed and downloaded again, ``ATTEMPTS`` times in all.

    Args:
        url: http:// or https://
        checksum: "algorithm:first digits in hexadecimal", or "" if unknown. A cached file is
            checked against it as well.

    Returns:
        The path of the file, below $FVCORE_CACHE, or ~/.torch/iopath_cache.

    Raises:
        UserError: there is no connection, the server refuses, every attempt gave a damaged file,
            or the cache cannot be written.
    """
    path = cache_path(url)
    try:
        if os.path.isfile(path) and not damage_of(path, checksum):
            return path
        with file_lock(path):
            # another process may have fetched it in the meantime
            if os.path.isfile(path) and (damage := damage_of(path, checksum)):
                logger.warning("Removing %s from the cache: %s.", path, damage)
                os.unlink(path)
            if not os.path.isfile(path):
                _download(url, path, checksum)
    except portalocker.LockException as error:
        raise UserError(
            f"{path} is not free ({error!r}): another process has been downloading {url} for an "
            "hour, or the file system has no locks; start again later, or set FVCORE_CACHE to a "
            "folder on another disk."
        ) from error
    except OSError as error:
        raise UserError(
            f"{url} cannot be written to {path} ({error.strerror or error}): make room, or set "
            "FVCORE_CACHE to a folder that can be written to and has room."
        ) from error
    return path


def cache_path(url: str) -> str:
    """Return the path in the cache for a URL, whether or not the file is there.

    Raises:
        UserError: the URL does not end in a file name.
    """
    parts = urlsplit(url)
    *folders, name = parts.path.lstrip("/").split("/")
    if not (parts.netloc and name) or {".", ".."} & {*folders, name}:
        raise UserError(f"{url} names no file: give a URL that ends in the name of one.")
    if parts.netloc != DETECTRON2_HOST:
        folders.insert(0, parts.netloc.replace(":", "_"))
    if parts.query:
        name += "_" + quote(parts.query, safe="")  # Detectron2 would parse a "?" as a query
    return os.path.join(get_cache_dir(), *folders, name)


def damage_of(path: str | os.PathLike, checksum: str = "") -> str | None:
    """Describe how a downloaded file differs from the published one; None if it does not.

    Besides the checksum, this detects a web page that a proxy sent in place of the file, and a
    truncated archive, as when the connection was lost and no length had been announced.

    Args:
        path: existing file.
        checksum: as for `download`.
    """
    with open(path, "rb") as file:
        start = file.read(512)
        if not start:
            return "it is an empty file"
        if WEB_PAGE.match(start):
            return "it is a web page, as a proxy or a login sends in place of a file"
        if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(file):
            return "its end is missing"
        if not checksum:
            return None
        algorithm, expected = checksum.split(":")
        digest = hashlib.new(algorithm, usedforsecurity=False)
        file.seek(0)
        while block := file.read(BLOCK):
            digest.update(block)
    found = digest.hexdigest()[: len(expected)]
    return None if found == expected else f"its {algorithm} starts with {found}, not {expected}"


def _download(url: str, path: str, checksum: str) -> None:
    """Download and check a file, and only then give it its final name.

    Raises:
        UserError: the file cannot be downloaded.
        OSError: it cannot be written.
    """
    failure: Failed | None = None
    for attempt in range(ATTEMPTS):
        if failure:
            pause = PAUSE * 2 ** (attempt - 1)
            logger.warning("%s: %s; trying again in %g s.", url, failure, pause)
            time.sleep(pause)
        try:
            with atomic_file(path) as partial:
                with open(partial, "wb") as file:
                    file.writelines(_blocks(url))
                if damage := damage_of(partial, checksum):
                    raise Failed(damage)
            return
        except Failed as error:
            failure = error
            if failure.final:
                break
    raise UserError(
        f"{url} cannot be downloaded ({failure}): check the network and the address, or get the "
        f"file and put it at {path}, or give the path of your copy in place of the name."
    )


def _blocks(url: str) -> Iterator[bytes]:
    """Yield the content of a URL in blocks of at most `BLOCK` bytes, with a progress bar.

    Raises:
        Failed: for any network error.
    """
    try:
        with (
            urlopen(url, timeout=SILENCE) as answer,
            tqdm(total=answer.length, unit="B", unit_scale=True, desc=url.split("/")[-1]) as bar,
        ):
            while block := answer.read(BLOCK):
                bar.update(len(block))
                yield block
            if answer.length:
                raise Failed(f"it ended after {bar.n} of {bar.total} bytes")
    except HTTPError as error:
        absent = error.code in (403, 404, 410)
        hint = "; the file may have moved, or need a login" if absent else ""
        final = 400 <= error.code < 500 and error.code not in TRY_AGAIN
        raise Failed(f"HTTP {error.code} {error.reason}{hint}", final) from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)  # what urllib wraps
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise Failed(text) from error
