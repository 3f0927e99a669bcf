"""Result files that are written completely or not at all."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mvit_det.errors import UserError
from mvit_det.files import atomic_file

logger = logging.getLogger(__name__)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that gets its name only when complete; create its folder.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial, open(partial, "wb") as file:
            yield file
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error}): free some space or choose another folder."
        ) from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes with `open_atomic`.

    Raises:
        UserError: the file cannot be written.
    """
    with open_atomic(path) as file:
        file.write(content if isinstance(content, bytes) else content.encode("utf-8"))


def write_arrays(path: Path, *, compress: bool = False, **arrays: np.ndarray) -> None:
    """Write arrays of any shape and dtype, by name, with `open_atomic`, for `numpy.load`.

    Raises:
        UserError: the file cannot be written.
    """
    save: Callable[..., None] = np.savez_compressed if compress else np.savez
    with open_atomic(path) as file:
        save(file, **arrays)


@contextmanager
def log_write_errors(what: str, path: Path) -> Iterator[None]:
    """Log what the block writes to ``path``, or the error if that fails, and continue.

    A full disk must not cost the metrics, nor the training that is evaluated.
    """
    try:
        yield
    except (OSError, UserError) as error:
        logger.error("%s could not be written to %s: %s", what, path, error)
    else:
        logger.info("%s: %s", what, path)
