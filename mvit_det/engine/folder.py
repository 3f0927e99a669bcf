"""Keep an output folder to one run at a time, and its config.yaml in step with its checkpoints."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from detectron2.utils import comm
from filelock import FileLock, Timeout

from mvit_det.errors import UserError
from mvit_det.files import PARTIAL, atomic_file


class ConfigFile:
    """The config.yaml of a folder, which must keep describing the checkpoints next to it.

    Detectron2's `default_setup` overwrites it even if the run is then refused. Create this object
    before that call, call `hold` after it, and `replace` when training begins: a run that is
    refused, or that only evaluates, then keeps the old file. If there was no file, the new one
    stays.

    Args:
        output_dir: created if absent.

    Raises:
        UserError: the folder cannot be created or written to.
    """

    def __init__(self, output_dir: str | os.PathLike):
        self.path = Path(output_dir) / "config.yaml"
        _create_folder(os.fspath(output_dir))
        self.old = self._read()
        self.new: bytes | None = None

    def _read(self) -> bytes | None:
        return self.path.read_bytes() if comm.is_main_process() and self.path.is_file() else None

    def hold(self) -> None:
        """Restore the old file, if there was one."""
        self.new = self._read()
        self._write(self.old)

    def replace(self) -> None:
        """Write the config of this run."""
        self._write(self.new)

    def _write(self, content: bytes | None) -> None:
        if content is not None:
            with atomic_file(self.path) as partial:
                partial.write_bytes(content)


def _create_folder(folder: str) -> None:
    if not folder:
        raise UserError("train.output_dir is empty: name a folder to write to.")
    try:
        os.makedirs(folder, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only")
    except OSError as error:
        raise UserError(
            f"train.output_dir={folder} cannot be used as a folder to write to ({error.strerror}): "
            "choose another."
        ) from error


@contextmanager
def exclusive_output_dir(output_dir: str | os.PathLike, resume: bool) -> Iterator[None]:
    """Lock the folder for one training; the lock ends with the process, even after a kill.

    Args:
        output_dir: created if absent.
        resume: whether the folder may already hold checkpoints.

    Raises:
        UserError: another process trains into the folder; or it holds checkpoints and ``resume``
            is not set, so that a later ``--resume`` would be ambiguous.
    """
    folder = Path(output_dir)
    with _folder_lock(folder, ".lock"):
        if comm.is_main_process():
            check_unused(folder, resume)
            for stale in folder.glob(f"model_*{PARTIAL}"):  # a run was killed while it saved
                stale.unlink()
        yield


def check_unused(folder: Path, resume: bool) -> None:
    """Raise a `UserError` if the folder holds checkpoints, unless ``resume`` is set."""
    checkpoints = sorted(path.name for path in folder.glob("model_*.pth"))
    if checkpoints and not resume:
        raise UserError(
            f"{folder} holds the checkpoints of another run ({checkpoints[-1]}): continue it with "
            "--resume, or choose another train.output_dir."
        )


def exclusive_test_dir(output_dir: str | os.PathLike) -> AbstractContextManager[None]:
    """Lock the folder for one evaluation, independently of any training in it.

    Raises:
        UserError: another process evaluates into the folder.
    """
    return _folder_lock(Path(output_dir), ".test.lock")


@contextmanager
def _folder_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock on the main process; raise a `UserError` if another run has it."""
    if not comm.is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    # The name of the holder has a file of its own: Windows lets nobody read a locked one.
    lock, holder = FileLock(folder / name), folder / f"{name}.holder"
    try:
        lock.acquire(timeout=0)  # forked workers of the loader do not inherit it
    except Timeout as error:
        raise UserError(
            f"{folder} is in use by {_read_holder(holder)}: wait until it ends, or choose another "
            "train.output_dir."
        ) from error
    except OSError as error:
        raise UserError(
            f"{folder / name} cannot be opened as the lock of its folder ({error.strerror}): "
            "remove it, or choose another train.output_dir."
        ) from error
    try:
        with atomic_file(holder) as partial:
            partial.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", "utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _read_holder(path: Path) -> str:
    with suppress(OSError):  # it has not written it yet
        return path.read_text("utf-8", errors="replace").strip() or "another process"
    return "another process"
