"""Images inside tar files, indexed by reading the headers once and read by seeking.

A streaming reader such as WebDataset cannot seek; with an index, order, augmentation, resuming and
evaluation are exactly those of class folders.

The index is stored next to the tar file (``<name>.tar.index.npz``), or below the datasets folder
if that is not writable, and rebuilt when the size or the time of the tar file changes.
"""

import hashlib
import logging
import os
import posixpath
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mvit_det.data.class_labels import whole_number
from mvit_det.data.discovery import FileIndex
from mvit_det.data.file_kinds import Skipped, is_hidden, is_image_name
from mvit_det.data.packed_text import PackedText
from mvit_det.data.paths import datasets_root
from mvit_det.errors import UserError
from mvit_det.files import atomic_file

logger = logging.getLogger(__name__)

# Stored in each index: increase it whenever the format changes.
_VERSION = 3
_Members = dict[str, tarfile.TarInfo]  # by name
_BLOCK = 512  # bytes; a tar file ends with blocks of zeros


def shard_index(shard: Path) -> FileIndex:
    """Load the index of a tar file, or build and store it.

    Its ``folders`` are those inside the tar file, "" for its top; the list is empty if members
    ``key.cls`` contain the labels. Images without a label are then left out.

    Raises:
        UserError: the file is damaged or compressed, a name or a key occurs twice, a member is a
            link, or a label is not an integer.
    """
    stat = shard.stat()
    stamp = [_VERSION, stat.st_size, stat.st_mtime_ns]
    paths = _index_paths(shard)
    for path in paths:
        index = _load_index(path, shard, stamp)
        if index is not None:
            return index
    index = _read_headers(shard)
    for path in paths:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as partial:
                _save_index(partial, stamp, index)
            break
        except OSError as error:  # a folder that is read-only, or full
            logger.debug("The index of %s cannot be stored as %s: %s", shard, path, error)
    else:
        logger.warning("The index of %s cannot be stored: it is rebuilt for each run.", shard)
    return index


def _index_paths(shard: Path) -> tuple[Path, Path]:
    digest = hashlib.sha256(os.fsencode(shard.resolve())).hexdigest()[:12]
    central = datasets_root() / "indexes" / f"{shard.name}-{digest}.index.npz"
    return shard.with_name(f"{shard.name}.index.npz"), central


def _save_index(path: Path, stamp: list[int], index: FileIndex) -> None:
    names, places = index.names, index.places
    assert isinstance(names, PackedText) and places is not None
    arrays: dict[str, Any] = dict(places=places, text=names.text, ends=names.ends, stamp=stamp)
    arrays |= dict(numbers=index.numbers, folders=np.array(index.folders, dtype=str))
    with open(path, "wb") as file:
        np.savez(file, ignored=index.ignored, **arrays)


def _load_index(path: Path, shard: Path, stamp: list[int]) -> FileIndex | None:
    """Load a file of `_save_index`; None if it is absent, out of date or damaged."""
    try:
        with np.load(path) as arrays:  # does not load pickles
            if arrays["stamp"].tolist() != stamp:
                return None
            names, folders = PackedText(arrays["text"], arrays["ends"]), arrays["folders"].tolist()
            numbers, places, ignored = (arrays[key] for key in ("numbers", "places", "ignored"))
            return FileIndex(str(shard), names, numbers, folders, places, str(ignored))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _read_headers(shard: Path) -> FileIndex:
    images: _Members = {}
    labels: dict[str, int] = {}  # by key
    skipped = Skipped()
    try:
        with open(shard, "rb") as file:
            for member in _members(file):
                hidden = any(map(is_hidden, posixpath.normpath(member.name).split("/")))
                if hidden:
                    skipped.hidden += is_image_name(member.name)
                elif is_image_name(member.name):
                    if not member.isreg() or member.issparse():
                        raise UserError(
                            f"{shard}: {member.name} is a link or a sparse file, which cannot be "
                            "read by position: create the archive again with "
                            "`tar --dereference --hard-dereference`."
                        )
                    if member.name in images:
                        raise UserError(f"{shard} has {member.name} twice: create it again.")
                    images[member.name] = member
                elif member.name.endswith(".cls"):
                    labels[_sample_key(member.name)] = _read_label(shard, file, member)
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{shard} is damaged, cut off or compressed ({error}): copy it again; a compressed one "
            "must be unpacked to a plain .tar, in which images can be found by position."
        ) from error
    index = _index_by_label(shard, images, labels) if labels else _index_by_folder(shard, images)
    return replace(index, ignored=" and ".join(filter(None, (index.ignored, str(skipped)))))


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield all members of a tar file except folders; `tarfile.ReadError` if it is cut off."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            if not member.isdir():
                yield member
        # tarfile mistakes a broken header for the end.
        file.seek(tar.offset)
        block = file.read(_BLOCK)
    if len(block) < _BLOCK or block.strip(b"\0"):
        raise tarfile.ReadError(f"no end mark at byte {tar.offset}")
    while rest := file.read(2**20):  # usually 9 KB of padding
        if rest.strip(b"\0"):
            raise tarfile.ReadError("more follows its end mark, as when archives are joined by cat")


def _sample_key(name: str) -> str:
    """Return WebDataset's key of a member: its name up to the first dot after the last folder."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _read_label(shard: Path, file: BinaryIO, member: tarfile.TarInfo) -> int:
    # tarfile reads from the same file object, and seeks before it reads on.
    file.seek(member.offset_data)
    text = file.read(member.size)
    try:
        return whole_number(text.decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(
            f"{shard}: {member.name} contains {text[:20]!r}: write the class index, 0, 1, ..."
        ) from error


def _index_by_folder(shard: Path, images: _Members) -> FileIndex:
    inside = [posixpath.dirname(posixpath.normpath(name)) for name in images]
    folders = sorted(set(inside)) or [""]
    rows = {folder: row for row, folder in enumerate(folders)}
    return _make_index(shard, images, [rows[folder] for folder in inside], folders)


def _index_by_label(shard: Path, images: _Members, labels: dict[str, int]) -> FileIndex:
    labelled = {name: member for name, member in images.items() if _sample_key(name) in labels}
    keys = [_sample_key(name) for name in labelled]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(
            f"{shard} has more than one image with the key {twice!r}, so its label is not clear: "
            "give each image a different key."
        )
    unlabelled = len(images) - len(labelled)
    ignored = f"{unlabelled} images without a label" if unlabelled else ""
    return _make_index(shard, labelled, [labels[key] for key in keys], [], ignored)


def _make_index(
    shard: Path, images: _Members, labels: list[int], folders: list[str], ignored: str = ""
) -> FileIndex:
    rows = [[member.offset_data, member.size] for member in images.values()]
    numbers, places = np.array(labels, np.int64), np.array(rows, np.int64).reshape(-1, 2).T
    return FileIndex(str(shard), PackedText.of(images), numbers, folders, places, ignored)
