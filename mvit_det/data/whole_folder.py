"""Folders that are there completely or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvit_det.errors import UserError


@contextmanager
def whole_folder(folder: str | os.PathLike, what: str, fix: str) -> Iterator[Path]:
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
