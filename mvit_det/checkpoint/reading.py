"""Open a file of weights of any kind, told by its content, and never run code from it."""

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from mvit_det.checkpoint.pickles import (
    ArrayUnpickler,
    Forbidden,
    array_builders,
    blank_class,
    settled,
)
from mvit_det.errors import UserError, some

# What opens a file of torch before version 1.6, after the two bytes of the pickle protocol.
LEGACY_TORCH = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, by its specification
# What a proxy, a login or a server in trouble sends in place of a file.
WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)

# Objects that honest training programs leave beside their weights: options, logs, configs, dates.
# They become blank, so it does no harm that some of these names could be misused.
BYSTANDERS = re.compile(
    r"(argparse\.Namespace|builtins\.getattr|datetime\.\w+|functools\.partial|pathlib\.\w+"
    r"|(mmengine|mmcv|mmaction|yacs|fvcore|iopath|omegaconf|slowfast|detectron2)\..+)"
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
            file.seek(max(os.path.getsize(path) - 1, 0))
            last = file.read()
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder: give the file of weights in it.") from error
    except OSError as error:
        raise UserError(
            f"The weights {path} cannot be opened ({error.strerror}): correct the path."
        ) from error
    read = _reader(path, head, last)
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


def _reader(path: Path, head: bytes, last: bytes) -> Callable[[Path], Any]:
    """Which function reads a file that begins and ends so."""
    if not head:
        raise UserError(f"The weights {path} are an empty file: fetch it anew.")
    if head.startswith(b"PK\x03\x04"):
        return _read_torch_zip
    if head[0] == 0x80:
        return _read_torch if head[2:].startswith(LEGACY_TORCH) else _read_pickle
    if re.match(rb"[(\]}cdl]", head) and last == b".":  # protocols 0 and 1 start like any text
        return _read_pickle
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_SAFETENSORS_HEADER:
        return load_file
    if WEB_PAGE.match(head):
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


def _read_pickle(path: Path) -> Any:
    with open(path, "rb") as file:
        try:
            return ArrayUnpickler(file).load()
        except Forbidden as error:
            raise _refusal(path, str(error)) from None


def _read_torch_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        if any(name.endswith("constants.pkl") for name in members):
            raise UserError(f"{path} is a TorchScript program: give the state_dict of its model.")
        if not any(name.endswith("data.pkl") for name in members):
            raise UserError(
                f"{path} is an archive without weights, of {some(members, 3)}: unpack it, and give "
                "the weights."
            )
        damaged = archive.testzip()
    if damaged:
        raise UserError(f"{path} is damaged (checksum of {damaged}): fetch it anew.")
    return _read_torch(path, mmap=True)


def _read_torch(path: Path, mmap: bool = False) -> Any:
    """Leave it to torch's unpickler of tensors, which refuses all names but its own and ours.

    It stops at a name that it does not know; where that is a bystander's, it begins again with a
    blank class in its place. The names come before all numbers in a file, so that costs no time.
    """
    admitted, blank = array_builders(), blank_class()
    while True:
        pairs = [(build, name) for name, build in admitted.items()]
        try:
            with torch.serialization.safe_globals(pairs), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of old kinds of storage
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as error:
            named = re.search(r"GLOBAL (\S+)", str(error))
            if named is None:
                detail = re.search(r"WeightsUnpickler error:\s*(.*)", str(error))
                reason = detail[1].strip() if detail else type(error).__name__
                raise UserError(
                    f"The weights {path} cannot be read ({reason}): the file is damaged, fetch it "
                    "anew; or it was not written by torch.save, then save its state_dict anew where "
                    "it was made."
                ) from error
            # torch leaves `builtins.` out
            name = named[1] if "." in named[1] else f"builtins.{named[1]}"
            if name in admitted or not BYSTANDERS.fullmatch(name):
                raise _refusal(path, name) from error
            admitted[name] = blank


def _refusal(path: Path, name: str) -> UserError:
    """The sentence for a file that asks for more than weights need."""
    return UserError(
        f"{path} is refused: it asks for {name}, by which it could run code of whoever made it, and "
        "weights need nothing but arrays, containers, strings and numbers; fetch it anew from its "
        "publisher, or save the state_dict alone by torch.save."
    )
