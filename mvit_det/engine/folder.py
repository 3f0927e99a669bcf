"""One run, one output folder."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from detectron2.utils import comm

from mvit_det.errors import UserError
from mvit_det.files import PARTIAL, atomic_file


class ConfigFile:
    """config.yaml of a folder, which must go on telling what the checkpoints beside it are of.

    Detectron2's `default_setup` replaces it, whatever becomes of the run. Make this object before,
    call `hold` behind it, and `replace` when training begins: a run that is refused, or that only
    evaluates, then leaves the file as it was. Where there was none, the new one stays.
    """

    def __init__(self, output_dir: str | os.PathLike):
        self.path = Path(output_dir) / "config.yaml"
        _make(os.fspath(output_dir))
        self.old = self._read()
        self.new: bytes | None = None

    def _read(self) -> bytes | None:
        return self.path.read_bytes() if comm.is_main_process() and self.path.is_file() else None

    def hold(self) -> None:
        """Put the former file back, if there was one."""
        self.new = self._read()
        self._write(self.old)

    def replace(self) -> None:
        """Let it be that of this run."""
        self._write(self.new)

    def _write(self, content: bytes | None) -> None:
        if content is not None:
            with atomic_file(self.path) as partial:
                partial.write_bytes(content)


def _make(folder: str) -> None:
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
    """Keep the folder for this training alone; the lock ends with the process, however it ends.

    Raises:
        UserError: another process trains into it; or it holds checkpoints and ``resume`` is not
            set: a later ``--resume`` could not tell which run to go on with.
    """
    folder = Path(output_dir)
    with _locked(folder, ".lock"):
        if comm.is_main_process():
            checkpoints = sorted(path.name for path in folder.glob("model_*.pth"))
            if checkpoints and not resume:
                raise UserError(
                    f"{folder} holds the checkpoints of another run ({checkpoints[-1]}): go on with "
                    "it by --resume, or choose another train.output_dir."
                )
            for stale in folder.glob(f"model_*{PARTIAL}"):  # a run was killed while it saved
                stale.unlink()
        yield


def exclusive_test_dir(output_dir: str | os.PathLike) -> AbstractContextManager[None]:
    """Keep the folder for this test alone, whatever trains into it."""
    return _locked(Path(output_dir), ".test.lock")


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock of the main process; a `UserError` where another run has it."""
    if not comm.is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "a+") as lock:
        try:
            # a lock of this process, which the loader's workers do not inherit
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise UserError(
                f"{folder} is in use by {lock.read().strip() or 'another process'}: wait until it "
                "ends, or choose another train.output_dir."
            ) from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        yield
