"""Open a file of weights of any kind, told by its content, and never run code from it."""

import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from mvit_det.checkpoint.pickles import (
    ArrayUnpickler,
    Forbidden,
    array_builders,
    blank_class,
    names_asked_for,
    refusal,
    settled,
)
from mvit_det.errors import UserError, some

# What opens a file of torch before version 1.6, behind the two bytes of the pickle protocol.
LEGACY_TORCH = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
LEGACY_PICKLES = 4  # that number, a version, the machine, the object
MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, by its specification

# Objects that honest training programs leave beside their weights: options, logs, configs, dates.
# They become blank, so it does no harm that some of these names could be misused.
BYSTANDERS = re.compile(
    r"(argparse\.Namespace|builtins\.getattr|datetime\.\w+|functools\.partial|pathlib\.\w+"
    r"|(mmengine|mmcv|mmaction|yacs|fvcore|iopath|omegaconf|slowfast|detectron2)\..+)"
)

# Names of tensors, arrays and containers.
HARMLESS = re.compile(
    r"torch\.\w+|torch\._utils\._rebuild_\w+|torch\.storage\.\w+Storage|torch\.nn\.parameter\.\w+"
    r"|numpy\..+|collections\.OrderedDict|_codecs\.encode"
)


def read_file(path: str | Path) -> Any:
    """The content of a file of weights: torch's (zip or legacy), pickled arrays, or safetensors.

    The name does not matter. Tensors of torch's zip files stay on the disk until they are used.

    Raises:
        UserError: the file is absent, damaged, of another kind, or asks for more than arrays.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder: give the file of weights in it.") from error
    except OSError as error:
        raise UserError(
            f"The weights {path} cannot be opened ({error.strerror}): correct the path."
        ) from error
    read = _reader(path, head)
    try:
        return settled(read(path))
    except UserError:
        raise
    except Exception as error:  # what is damaged fails in many ways
        reason = re.split(r"\n|\. ", f"{type(error).__name__}: {error}")[0]
        raise UserError(
            f"The weights {path} cannot be read ({reason}): the file is damaged or incomplete, "
            "fetch it anew."
        ) from error


def _reader(path: Path, head: bytes) -> Callable[[Path], Any]:
    """Which function reads a file that begins so."""
    if not head:
        raise UserError(f"The weights {path} are an empty file: fetch it anew.")
    if head.startswith(b"PK\x03\x04"):
        return _read_torch_zip
    if head[0] == 0x80 and head[2:].startswith(LEGACY_TORCH):
        return _read_torch_legacy
    if head[0] == 0x80 or _is_textual_pickle(path, head):
        return _read_pickle
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_SAFETENSORS_HEADER:
        return load_file
    if re.match(rb"\s*<(!doctype|html|head|\?xml)", head, re.IGNORECASE):
        raise UserError(
            f"{path} is a web page and no weights: the server answered with a message instead; "
            "remove it and fetch the file anew."
        )
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} only points to the weights: fetch them with `git lfs pull`.")
    start = head[:20].decode("latin1")
    raise UserError(
        f"{path} is no file of weights, it begins with {start!r}: give a .pth, .pyth, .pkl or "
        ".safetensors checkpoint."
    )


def _is_textual_pickle(path: Path, head: bytes) -> bool:
    """Whether it is a pickle of protocol 0 or 1, which starts like any text."""
    if not re.match(rb"[(\]}cdl]", head):
        return False
    try:
        with open(path, "rb") as file:
            return sum(1 for _ in pickletools.genops(file)) > 1
    except Exception:  # genops fails in many ways on what is no pickle
        return False


def _read_pickle(path: Path) -> Any:
    with open(path, "rb") as file:
        try:
            return ArrayUnpickler(file).load()
        except Forbidden:
            file.seek(0)
            raise refusal(path, _worst(names_asked_for(file))) from None


def _read_torch_zip(path: Path) -> Any:
    asked = []
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        programs = [name for name in members if name.endswith("constants.pkl")]
        if programs:
            raise UserError(f"{path} is a TorchScript program: give the state_dict of its model.")
        pickles = [name for name in members if name.endswith("data.pkl")]
        if not pickles:
            raise UserError(
                f"{path} is an archive without weights, of {some(members, 3)}: unpack it, and give "
                "the weights."
            )
        damaged = archive.testzip()
        if damaged:
            raise UserError(f"{path} is damaged (checksum of {damaged}): fetch it anew.")
        for name in pickles:
            with archive.open(name) as file:
                asked += names_asked_for(file)
    return _load_torch(path, asked, mmap=True)


def _read_torch_legacy(path: Path) -> Any:
    with open(path, "rb") as file:
        asked = names_asked_for(file, LEGACY_PICKLES)
    return _load_torch(path, asked, mmap=False)


def _load_torch(path: Path, asked: list[str], mmap: bool) -> Any:
    """Leave it to torch's unpickler of tensors, which refuses all names but its own and ours."""
    try:
        with _admitted(asked), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old kinds of storage
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named:  # torch leaves `builtins.` out
            name = named[1] if "." in named[1] else f"builtins.{named[1]}"
            if name in asked:  # not so at the torn end of a file
                raise refusal(path, name) from error
        if not all(map(_is_harmless, asked)):
            raise refusal(path, _worst(asked)) from error
        detail = re.search(r"WeightsUnpickler error:\s*(.*)", str(error))
        reason = detail[1].strip() if detail else type(error).__name__
        raise UserError(
            f"The weights {path} cannot be read ({reason}): the file is damaged, fetch it anew; or it "
            "was not written by torch.save, then save its state_dict anew where it was made."
        ) from error


def _worst(asked: list[str]) -> str:
    """The name in a refused file that says best why it is refused."""
    return min(asked, key=_is_harmless)


def _is_harmless(name: str) -> bool:
    return HARMLESS.fullmatch(name) is not None or BYSTANDERS.fullmatch(name) is not None


@contextmanager
def _admitted(asked: list[str]) -> Iterator[None]:
    """Let torch's unpickler also build arrays, and blank objects for bystanders."""
    admitted = [(build, name) for name, build in array_builders().items() if name in asked]
    blank = blank_class()
    admitted += [(blank, name) for name in set(asked) if BYSTANDERS.fullmatch(name)]
    with torch.serialization.safe_globals(admitted):
        yield
