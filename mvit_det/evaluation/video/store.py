"""The scores of a test on disk while it runs, so that one that was interrupted can go on.

A folder holds a description of the test (``test.json``) and, of every process of every start, a
file of records that only grows: one record per clip, with a checksum. Records reach the system
batch by batch, so that ``kill -9`` costs a batch, and the disk every 30 s, for a loss of power.
"""

import hashlib
import json
import logging
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.errors import UserError, some
from mvit_det.evaluation.writing import write_whole
from mvit_det.files import read_json

logger = logging.getLogger(__name__)

FOLDER, _DESCRIPTION = "unfinished_test", "test.json"
_FLUSH_SECONDS = 30
_NAME = re.compile(r"start(\d+)_process\d+_(\d+)x(\d+)\.scores")  # crops x classes

# file name, label, number of the clip, number of clips
Key = tuple[str, int, int, int]


def key_of(item: Mapping[str, Any]) -> Key:
    """Which clip a dataset item is; one that says nothing of clips is the only one of its file."""
    return (
        str(item["file_name"]),
        int(item["label"]),
        int(item.get("clip", 0)),
        int(item.get("clips", 1)),
    )


class ViewStore:
    """Records of the clips that are done. Every process writes; the main one reads.

    Args:
        output_dir: of the run, which all processes see.
        keys: of all clips of the data set, in its order.
        rank: of this process.
    """

    def __init__(self, output_dir: Path, keys: Sequence[Key], rank: int):
        self.folder = output_dir / FOLDER
        self.keys = keys
        self.places = {key: index for index, key in enumerate(keys)}
        self.start = 0
        self._rank = rank
        self._shape: tuple[int, ...] = ()
        self._file: Any = None
        self._flushed = time.monotonic()
        self._broken = False
        self._damaged = 0  # records that the log has told of

    def begin(self, test: Mapping[str, str], resume: bool) -> int:
        """Open the folder; on the main process, before the others. Returns the number of this start.

        Args:
            test: what else, by name, must be the same for scores to belong together.
            resume: whether to go on with what is there.

        Raises:
            UserError: it holds another test, or one that is not to be gone on with. Nothing is lost.
        """
        test = {**test, "dataset": self._data_set()}
        if not self.count():
            if resume:
                logger.warning("No interrupted test is in %s: starting anew.", self.folder)
            self._write(json.dumps(test, indent=2) + "\n")
            return 0
        if not resume:
            raise UserError(
                f"{self.folder} holds an interrupted test, of which {self.progress()}: go on with it "
                "by --eval-only --resume, choose another train.output_dir, or remove that folder."
            )
        before = read_json(self.folder / _DESCRIPTION, "The description of the interrupted test")
        other = [
            f"{name}: {_brief(before.get(name))} there, {_brief(test.get(name))} now"
            for name in {**before, **test}
            if before.get(name) != test.get(name)
        ]
        if other:
            raise UserError(
                f"{self.folder} holds the scores of another test ({some(other, 3)}), so nothing is "
                "mixed or removed: choose another train.output_dir, or evaluate what that test did."
            )
        return 1 + max(map(_start, self._files()))

    def _data_set(self) -> str:
        content = "\n".join("\t".join(map(str, key)) for key in self.keys)
        digest = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()
        return f"{len(self.keys)} clips, {digest[:16]}"

    def _write(self, description: str) -> None:
        for path in self._files():  # without a single whole record
            path.unlink()
        try:
            write_whole(self.folder / _DESCRIPTION, description)
        except UserError as error:
            self._give_up(error)

    def append(self, keys: Sequence[Key], scores: np.ndarray) -> None:
        """Keep the scores (B, V, K) of these clips of the data set.

        Where that fails, as on a full disk, the log says so once, and the test goes on without.
        """
        if self._broken:
            return
        shape = scores.shape[1:]
        records = np.empty(len(keys), _record(*shape))
        records["place"], records["scores"] = [self._place(key) for key in keys], scores
        records["check"] = [_checksum(record) for record in records]
        data = memoryview(records.tobytes())
        try:
            if shape != self._shape:
                self._open(shape)
            while data:
                data = data[self._file.write(data) :]
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                os.fsync(self._file.fileno())
                self._flushed = time.monotonic()
        except OSError as error:
            self._give_up(error)

    def _place(self, key: Key) -> int:
        place = self.places.get(key)
        if place is None:
            file_name, label, clip, clips = key
            raise UserError(
                f"Clip {clip} of {clips} of {file_name}, labelled {label}, came out of the loader "
                "but is not in its data set: the mapper of dataloader.test must hand on file_name, "
                "label, clip and clips as they are."
            )
        return place

    def _open(self, shape: tuple[int, ...]) -> None:
        self.close()
        name = f"start{self.start:02d}_process{self._rank}_{shape[0]}x{shape[1]}.scores"
        self._file = open(self.folder / name, "ab", buffering=0)
        self._shape = shape

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        logger.error(
            "The scores of clips are no longer kept in %s (%s): the test goes on, but once "
            "interrupted it can go on from here only, and view_scores.npz will not be written.",
            *(self.folder, error),
        )

    def close(self) -> None:
        """End writing."""
        if self._file is not None:
            self._file.close()
            self._file, self._shape = None, ()

    def count(self) -> int:
        """How many clips have a record; by the sizes of the files alone."""
        return sum(path.stat().st_size // _record(*shape).itemsize for path, shape in self._sized())

    def progress(self) -> str:
        """In words."""
        return f"{self.count()} of {len(self.keys)} clips are done"

    def read(self, before: int | None = None) -> dict[int, np.ndarray]:
        """Scores (V, K) by place in the data set, in the files' memory; damaged records left out.

        Args:
            before: only what earlier starts than this one have done.
        """
        found: dict[int, np.ndarray] = {}
        damaged = 0
        for path, shape in self._sized():
            kind = _record(*shape)
            count = path.stat().st_size // kind.itemsize
            if not count or (before is not None and _start(path) >= before):
                continue
            for record in np.asarray(np.memmap(path, kind, "r", shape=(count,))):
                if record["check"] == _checksum(record) and record["place"] < len(self.keys):
                    found.setdefault(int(record["place"]), record["scores"])
                else:
                    damaged += 1
        if damaged > self._damaged:
            self._damaged = damaged
            logger.warning("%d damaged records in %s are not used.", damaged, self.folder)
        return found

    def views(self, videos: Sequence[tuple[str, int]]) -> "StoredViews":
        """What is there of these videos, which are told by file name and label."""
        rows = {video: row for row, video in enumerate(videos)}
        found = {}
        for place, scores in self.read().items():
            file_name, label, clip, _ = self.keys[place]
            found[rows[file_name, label], clip] = scores
        return StoredViews(len(videos), found)

    def remove(self) -> None:
        """The test is finished: remove its records, and the folder if nothing else is in it."""
        try:
            for path in (*self._files(), self.folder / _DESCRIPTION):
                path.unlink(missing_ok=True)
            self.folder.rmdir()
        except OSError as error:
            logger.warning("%s could not be removed: %s", self.folder, error)

    def _files(self) -> list[Path]:
        return [path for path, _ in self._sized()]

    def _sized(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        """The files of records, the oldest first, with the shape of a clip's scores."""
        for path in sorted(self.folder.glob("*.scores")):
            match = _NAME.fullmatch(path.name)
            if match:
                yield path, (int(match[2]), int(match[3]))


class StoredViews:
    """Scores by video, clip, crop and class, which never are in memory all together.

    Args:
        videos: how many.
        scores: (row of the video, clip) -> (V, K).
    """

    def __init__(self, videos: int, scores: Mapping[tuple[int, int], np.ndarray]):
        self._scores = scores
        clips = 1 + max((clip for _, clip in scores), default=-1)
        crops = max((len(each) for each in scores.values()), default=0)
        classes = next((each.shape[1] for each in scores.values()), 0)
        self.shape = (videos, clips, crops, classes)

    def __len__(self) -> int:
        return len(self._scores)

    def blocks(self, size: int = 64) -> Iterator[np.ndarray]:
        """Some videos after the other, (up to ``size``, clips, crops, K); NaN where there is none."""
        videos, clips, *rest = self.shape
        for start in range(0, videos, size):
            block = np.full((min(size, videos - start), clips, *rest), np.nan, np.float32)
            for row, clip in np.ndindex(len(block), clips):
                scores = self._scores.get((start + row, clip))
                if scores is not None:
                    block[row, clip, : len(scores)] = scores
            yield block


def _start(path: Path) -> int:
    return int(_NAME.fullmatch(path.name)[1])


def _record(crops: int, classes: int) -> np.dtype:
    return np.dtype([("place", "<u4"), ("check", "<u4"), ("scores", "<f4", (crops, classes))])


def _checksum(record: np.void) -> int:
    return zlib.crc32(record["scores"].tobytes(), int(record["place"]))


def _brief(value: str | None) -> str:
    """Enough of a hash or a list to tell it from another."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
