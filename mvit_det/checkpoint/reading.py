"""Open a weight file of any kind, detected from its content, without running code from it."""

import io
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from mvit_det.checkpoint import pickles
from mvit_det.errors import UserError, printable, shorten_list

# First bytes of a file of torch before version 1.6, after the two bytes of the pickle protocol.
LEGACY_TORCH = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, by its specification
# First bytes of a page that a proxy, a login or a failing server sends instead of a file.
WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)

# Objects that common training programs save next to their weights: options, logs, configs, dates.
# They become blank objects, so it is harmless that some of these names could be misused.
BLANKED_NAMES = re.compile(
    r"(argparse\.Namespace|builtins\.getattr|datetime\.\w+|functools\.partial|pathlib\.\w+"
    r"|(mmengine|mmcv|mmaction|yacs|fvcore|iopath|omegaconf|slowfast|detectron2"
    r"|lightning|pytorch_lightning|lightning_fabric|torchmetrics|timm|hydra)\..+)"
)


def read_file(path: str | Path) -> Any:
    """Read a weight file: torch's (zip or legacy), pickled arrays, or safetensors.

    The suffix does not matter. Tensors of torch's zip files are memory-mapped until they are used.

    Returns:
        The content of the file: nested containers with torch tensors or numpy arrays.

    Raises:
        UserError: the file is missing, damaged, of another kind, or refers to more than arrays.
    """
    path = Path(path)
    try:
        head, last = ends_of(path)
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder: give the weight file in it.") from error
    except OSError as error:
        raise UserError(
            f"Weight file {path} cannot be opened ({error.strerror}): correct the path."
        ) from error
    read = _reader(path, head, last)
    try:
        return pickles.replace_arrays(read(path))
    except UserError:
        raise
    except Exception as error:  # damaged files fail in many ways
        reason = re.split(r"\n|\. ", f"{type(error).__name__}: {error}")[0][:200]
        raise UserError(
            f"Weight file {path} cannot be read ({printable(reason)}): it is damaged or "
            "incomplete, download it again."
        ) from error


def ends_of(path: str | os.PathLike) -> tuple[bytes, bytes]:
    """Read the first 512 bytes of a file and its last one, which tell what kind it is."""
    with open(path, "rb") as file:
        head = file.read(512)
        file.seek(max(os.path.getsize(path) - 1, 0))
        return head, file.read()


def describe_damage(path: str | os.PathLike) -> str | None:
    """Describe why a file is no weight file, or is cut off, as far as its ends tell; else None."""
    head, last = ends_of(path)
    if not head:
        return "it is an empty file"
    if WEB_PAGE.match(head):
        return "it is a web page, as a proxy or a login sends instead of a file"
    try:
        read = _reader(Path(path), head, last)
    except UserError:
        return f"it is not a weight file, it begins with {head[:40].decode('latin1')!r}"
    return None if _is_whole(path, read, last) else "its end is missing"


def _is_whole(path: str | os.PathLike, read: Callable, last: bytes) -> bool:
    """Return whether the end of a file is there, for a file that ``read`` reads."""
    if read is _read_torch_zip:
        try:
            return zipfile.is_zipfile(path)
        except zipfile.BadZipFile:  # for an end of several disks
            return False
    if read is load_file:
        try:
            with safe_open(path, "pt"):
                return True
        except SafetensorError:
            return False
    return read is not _read_pickle or last == b"."


def _reader(path: Path, head: bytes, last: bytes) -> Callable[[Path], Any]:
    """Choose the function that reads a file, from its first 512 bytes and its last one."""
    if not head:
        raise UserError(f"{path} is an empty file: download it again.")
    if head.startswith(b"PK\x03\x04"):
        return _read_torch_zip
    if head[0] == 0x80:
        return _read_legacy_torch if head[2:].startswith(LEGACY_TORCH) else _read_pickle
    if re.match(rb"[(\]}cdl]", head) and last == b".":  # protocols 0 and 1 begin like text
        return _read_pickle
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_SAFETENSORS_HEADER:
        return load_file
    if WEB_PAGE.match(head):
        raise UserError(
            f"{path} is a web page, not a weight file: the server sent a message instead; remove "
            "it and download the file again."
        )
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is a Git LFS pointer: download the weights with `git lfs pull`.")
    start = head[:20].decode("latin1")
    raise UserError(
        f"{path} is not a weight file, it begins with {start!r}: give a .pth, .pyth, .pkl or "
        ".safetensors checkpoint."
    )


def _read_pickle(path: Path) -> Any:
    with open(path, "rb") as file:
        end, whole = pickles.scan(file)
        file.seek(0)
        # what precedes the damage may have a name to refuse
        sound = file if whole else io.BytesIO(file.read(end))
        try:
            return pickles.ArrayUnpickler(sound).load()
        except pickles.Forbidden as error:
            raise _unsafe_name(path, str(error)) from None


def is_compressed(archive: zipfile.ZipFile, path: str | os.PathLike) -> bool:
    """Return whether an archive is compressed, or holds more bytes than its file.

    torch.save writes neither, and then a few bytes could stand for more than memory holds.
    """
    members = archive.infolist()
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    return not stored or sum(member.file_size for member in members) > os.path.getsize(path)


def _read_torch_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        if any(name.endswith("constants.pkl") for name in members):
            raise UserError(f"{path} is a TorchScript program: give the state_dict of its model.")
        if not any(name.endswith("data.pkl") for name in members):
            raise UserError(
                f"{path} is an archive of {shorten_list(members, 3)}, not a weight file: unpack it "
                "and give the weight file in it."
            )
        if is_compressed(archive, path):
            raise UserError(
                f"{path} is a compressed archive, which torch.save does not write: download it "
                "again, or unpack it and archive it without compression (zip -0)."
            )
        damaged = archive.testzip()
        if damaged:
            raise UserError(f"{path} is damaged (checksum of {damaged}): download it again.")
        with archive.open(next(name for name in members if name.endswith("data.pkl"))) as file:
            _check_sound(file)
    return _read_torch(path, mmap=True)


def _read_legacy_torch(path: Path) -> Any:
    with open(path, "rb") as file:
        # format, its version, sizes of numbers; the content; the names of the arrays that follow
        for _ in range(5):
            _check_sound(file)
    return _read_torch(path)


def _check_sound(file: IO[bytes]) -> None:
    """Raise an error unless the pickle at the file's position is whole and ordinary."""
    if not pickles.scan(file)[1]:
        raise pickle.UnpicklingError("the list of its contents is cut off")


def _read_torch(path: Path, mmap: bool = False) -> Any:
    """Read with torch's weights-only unpickler, which accepts only its own names and ours.

    It stops at an unknown name; if `BLANKED_NAMES` has that name, reading restarts with a blank
    class in its place. Names precede all numbers in a file, so a restart costs no time.
    """
    allowed, blank = pickles.array_builders(), pickles.blank_class()
    while True:
        pairs: list[Any] = [(build, name) for name, build in allowed.items()]
        try:
            with torch.serialization.safe_globals(pairs), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about old kinds of storage
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as error:
            match = re.search(r"GLOBAL (\S+)", str(error))
            if match is None:
                detail = re.search(r"WeightsUnpickler error:\s*(.*)", str(error))
                reason = detail[1].strip() if detail else type(error).__name__
                raise UserError(
                    f"Weight file {path} cannot be read ({printable(reason)}): it is damaged or "
                    "was not written by torch.save; download it again, or save the state_dict "
                    "again where the file was made."
                ) from error
            # torch omits `builtins.`
            name = match[1] if "." in match[1] else f"builtins.{match[1]}"
            if name in allowed or not BLANKED_NAMES.fullmatch(name):
                raise _unsafe_name(path, name) from error
            allowed[name] = blank


def _unsafe_name(path: Path, name: str) -> UserError:
    """Return the error for a file that refers to a name that weights do not need."""
    return UserError(
        f"{path} is refused: it refers to {printable(name[:200])}, which could run code of the "
        "file's author, and weights need nothing but arrays, containers, strings and numbers; "
        "download it again from its publisher, or save the state_dict alone with torch.save."
    )
