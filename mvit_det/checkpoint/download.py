"""Download files into iopath's cache, complete and checked.

`torch.hub.download_url_to_file` and iopath's handler do not suffice: both try once, wait for ever
on a stalled connection, and accept a truncated file if the server announced no length. iopath
checks no checksum and identifies files by path alone, whatever the host; torch.hub accepts a file
that is shorter than announced.
"""

import errno
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

from filelock import FileLock, Timeout
from iopath.common.file_io import get_cache_dir
from tqdm import tqdm

from mvit_det.checkpoint import reading
from mvit_det.errors import UserError
from mvit_det.files import atomic_file

logger = logging.getLogger(__name__)

ATTEMPTS = 4
RETRY_DELAY = 1.0  # seconds before the second attempt; doubles with each further attempt
TIMEOUT = 60.0  # seconds without a byte after which a connection counts as lost
LOCK_TIMEOUT = 3600.0  # seconds to wait for another process that downloads the same file
BLOCK_SIZE = 2**20  # bytes
# Files of this host are cached where Detectron2 caches them, so that the cache is shared. All other
# hosts get a folder each, since two hosts may have different files of the same name.
DETECTRON2_HOST = "dl.fbaipublicfiles.com"
TEMPORARY_ERRORS = {408, 425, 429}  # HTTP client errors after which a retry may succeed


class AttemptFailed(Exception):
    """One attempt has failed; the message is the reason. ``final``: a retry would fail too."""

    def __init__(self, reason: str, final: bool = False):
        super().__init__(reason)
        self.final = final


def download(url: str, checksum: str = "") -> str:
    """Download a file into the cache if it is not there; safe for concurrent processes.

    A file gets its final name only after it has been checked. Truncated or damaged files are
    removed and downloaded again, ``ATTEMPTS`` times in all.

    Args:
        url: address that starts with http:// or https://.
        checksum: "algorithm:first digits in hexadecimal", or "" if unknown. A cached file is
            checked against it as well.

    Returns:
        The path of the file, below $FVCORE_CACHE or ~/.torch/iopath_cache.

    Raises:
        UserError: the URL does not end in a file name, there is no connection, the server refuses,
            every attempt gave a damaged file, or the cache cannot be written.
    """
    path = cache_path(url)
    try:
        if os.path.isfile(path) and not describe_damage(path, checksum):
            return path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT):  # iopath's lock has the same name
            # another process may have fetched it in the meantime
            if os.path.isfile(path) and (damage := describe_damage(path, checksum)):
                logger.warning("Removing %s from the cache: %s.", path, damage)
                os.unlink(path)
            if not os.path.isfile(path):
                _download(url, path, checksum)
    except OSError as error:
        if isinstance(error, Timeout) or error.errno == errno.ENOLCK:
            raise UserError(
                f"{path} cannot be locked ({error!r}): another process has been downloading {url} "
                "for an hour, or the file system has no locks; start again later, or set "
                "FVCORE_CACHE to a folder on another disk."
            ) from error
        raise UserError(
            f"{url} cannot be written to {path} ({error.strerror or error}): free space, or set "
            "FVCORE_CACHE to a writable folder with free space."
        ) from error
    return path


def cache_path(url: str) -> str:
    """Return the path in the cache for a URL, whether or not the file is there.

    Args:
        url: address of a file; its query becomes part of the file name.

    Raises:
        UserError: the URL does not end in a file name.
    """
    parts = urlsplit(url)
    *folders, name = parts.path.lstrip("/").split("/")
    if not (parts.netloc and name) or {".", ".."} & {*folders, name}:
        raise UserError(f"{url} does not end in a file name: give the URL of a file.")
    if parts.netloc != DETECTRON2_HOST:
        folders.insert(0, parts.netloc.replace(":", "_"))
    if parts.query:
        name += "_" + quote(parts.query, safe="")  # Detectron2 would parse a "?" as a query
    return os.path.join(get_cache_dir(), *folders, name)


def describe_damage(path: str | os.PathLike, checksum: str = "") -> str | None:
    """Describe how a downloaded file differs from the published one; None if it does not.

    Besides a wrong checksum, this detects a message that a server sent instead of the file (a web
    page, JSON, text), and a truncated file, as after a lost connection whose server had announced
    no length.

    Args:
        path: existing file.
        checksum: as for `download`.
    """
    damage = reading.describe_damage(path)
    if damage or not checksum:
        return damage
    algorithm, expected = checksum.split(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK_SIZE):
            digest.update(block)
    actual = digest.hexdigest()[: len(expected)]
    return None if actual == expected else f"its {algorithm} starts with {actual}, not {expected}"


def _download(url: str, path: str, checksum: str) -> None:
    """Download and check a file, and only then give it its final name.

    Raises:
        UserError: the file cannot be downloaded.
        OSError: it cannot be written.
    """
    failure: AttemptFailed | None = None
    for attempt in range(ATTEMPTS):
        if failure:
            delay = RETRY_DELAY * 2 ** (attempt - 1)
            logger.warning("%s: %s; trying again in %g s.", url, failure, delay)
            time.sleep(delay)
        try:
            with atomic_file(path) as partial:
                with open(partial, "wb") as file:
                    file.writelines(_blocks(url))
                if damage := describe_damage(partial, checksum):
                    raise AttemptFailed(damage)
            return
        except AttemptFailed as error:
            failure = error
            if failure.final:
                break
    raise UserError(
        f"{url} cannot be downloaded ({failure}): check the network and the address, or put a copy "
        f"of the file at {path}, or give the path of a copy instead of the name."
    )


def _blocks(url: str) -> Iterator[bytes]:
    """Yield the content of a URL in blocks of at most `BLOCK_SIZE` bytes, with a progress bar.

    Raises:
        AttemptFailed: for any network error.
    """
    try:
        with (
            urlopen(url, timeout=TIMEOUT) as response,
            tqdm(total=response.length, unit="B", unit_scale=True, desc=url.split("/")[-1]) as bar,
        ):
            while block := response.read(BLOCK_SIZE):
                bar.update(len(block))
                yield block
            if response.length:
                raise AttemptFailed(f"it ended after {bar.n} of {bar.total} bytes")
    except HTTPError as error:
        is_absent = error.code in (403, 404, 410)
        hint = "; the file may have moved, or need a login" if is_absent else ""
        final = 400 <= error.code < 500 and error.code not in TEMPORARY_ERRORS
        raise AttemptFailed(f"HTTP {error.code} {error.reason}{hint}", final) from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)  # what urllib wraps
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise AttemptFailed(text) from error
