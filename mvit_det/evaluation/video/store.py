"""Store the scores of a test on disk while it runs, so that an interrupted test can be resumed.

A folder contains a description of the test (``test.json``) and, for each process, an append-only
file of records: one record per clip, with a checksum. Records reach the operating system batch by
batch, so that ``kill -9`` loses one batch; a power failure loses what the system has not yet
written to the disk (Linux writes after 30 s).

NOTE: not SQLite: its locks fail on the network file systems that several machines write to, and a
full disk would end the test.
"""

import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.errors import UserError, shorten_list
from mvit_det.evaluation.writing import write_atomic
from mvit_det.files import read_json

logger = logging.getLogger(__name__)

FOLDER, _DESCRIPTION = "unfinished_test", "test.json"
_NAME = re.compile(r".*_(\d+)x(\d+)\.scores")  # crops x classes

# file name, label, clip index, number of clips
Key = tuple[str, int, int, int]


def clip_key(item: Mapping[str, Any]) -> Key:
    """Identify the clip of a dataset item; an item without "clip" is the only clip of its file."""
    label, clip, clips = item["label"], item.get("clip", 0), item.get("clips", 1)
    return str(item["file_name"]), int(label), int(clip), int(clips)


class ViewStore:
    """Records of the clips that have been tested. Every process writes; the main process reads.

    Args:
        output_dir: of the run, shared by all processes.
        keys: of all clips, in the order of the dataset.
        rank: of this process.
    """

    def __init__(self, output_dir: Path, keys: Sequence[Key], rank: int):
        self.folder = output_dir / FOLDER
        self.keys = keys
        self.places = {key: index for index, key in enumerate(keys)}
        self._rank = rank
        self._broken = False
        self._damaged = 0  # number of damaged records logged so far

    def begin(self, test: Mapping[str, str], resume: bool) -> dict[int, np.ndarray]:
        """Open the folder, on the main process, before other processes use it.

        Args:
            test: properties of the test, by name, that must be equal to resume it.
            resume: continue an interrupted test.

        Returns:
            The scores so far, as `read`.

        Raises:
            UserError: the folder contains another test, or an interrupted one and ``resume`` is not
                set; its records are kept.
        """
        content = "\n".join("\t".join(map(str, key)) for key in self.keys)
        digest = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()
        test = {**test, "dataset": f"{len(self.keys)} clips, {digest[:16]}"}
        if not self.count():
            if resume:
                logger.warning("%s contains no interrupted test: starting a new one.", self.folder)
            try:
                write_atomic(self.folder / _DESCRIPTION, json.dumps(test, indent=2) + "\n")
            except UserError as error:
                self._give_up(error)
        elif not resume:
            raise UserError(
                f"{self.folder} contains an interrupted test ({self.progress()}): continue it with "
                "--eval-only --resume, choose another train.output_dir, or remove the folder."
            )
        else:
            self._check_same(test)
        for path, kind, count in self._files():  # drop an incomplete record, left by kill -9
            os.truncate(path, count * kind.itemsize)
        return self.read()

    def _check_same(self, test: Mapping[str, str]) -> None:
        stored = read_json(self.folder / _DESCRIPTION, "The description of the interrupted test")
        differences = [
            f"{name}: {_shorten(stored.get(name))} there, {_shorten(test.get(name))} now"
            for name in {**stored, **test}
            if stored.get(name) != test.get(name)
        ]
        if differences:
            raise UserError(
                f"{self.folder} contains the scores of another test "
                f"({shorten_list(differences, 3)}), which are kept: choose another "
                "train.output_dir, or repeat that test to finish it."
            )

    def append(self, keys: Sequence[Key], scores: np.ndarray) -> None:
        """Write the scores of a batch of clips.

        If writing fails, as on a full disk, the error is logged once, and the test continues
        without records.

        Args:
            keys: of B clips.
            scores: (B, V, K) float32, V crops of each.

        Raises:
            UserError: a clip is not in the dataset.
        """
        if self._broken:
            return
        crops, classes = scores.shape[1:]
        records = np.empty(len(keys), _record_dtype(crops, classes))
        records["place"], records["scores"] = [self._place(key) for key in keys], scores
        records["check"] = [_checksum(record) for record in records]
        name = f"process{self._rank}_{crops}x{classes}.scores"
        try:
            with open(self.folder / name, "ab") as file:
                file.write(records.tobytes())
        except OSError as error:
            self._give_up(error)

    def _place(self, key: Key) -> int:
        place = self.places.get(key)
        if place is None:
            file_name, label, clip, clips = key
            raise UserError(
                f"Clip {clip} of {clips} of {file_name}, label {label}, comes from the data loader "
                "but is not in the dataset: the mapper of dataloader.test must not change "
                "file_name, label, clip and clips."
            )
        return place

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        logger.error(
            "The scores of clips are no longer stored in %s (%s): the test continues, but if it is "
            "interrupted, it can be resumed only from here; view_scores.npz will not be written.",
            *(self.folder, error),
        )

    def count(self) -> int:
        """Count the clips that have a record, from the sizes of the files."""
        return sum(count for _, _, count in self._files())

    def progress(self) -> str:
        """Describe how many clips are done, for messages."""
        return f"{self.count()} of {len(self.keys)} clips are done"

    def read(self) -> dict[int, np.ndarray]:
        """Return memory-mapped scores (V, K) float32 by dataset index, without damaged records."""
        scores: dict[int, np.ndarray] = {}
        damaged = 0
        for path, kind, count in self._files():
            for record in np.asarray(np.memmap(path, kind, "r", shape=count)) if count else ():
                if record["check"] == _checksum(record) and record["place"] < len(self.keys):
                    scores.setdefault(int(record["place"]), record["scores"])
                else:
                    damaged += 1
        if damaged > self._damaged:
            self._damaged = damaged
            logger.warning("%d damaged records in %s are skipped.", damaged, self.folder)
        return scores

    def views(self, videos: Sequence[tuple[str, int]]) -> tuple[np.ndarray, int]:
        """Return the scores of some videos, and the number of clips on disk.

        Args:
            videos: (file name, label) of N videos.

        Returns:
            Scores (N, clips, crops, K) float32, NaN where there are none; and the number of stored
            clips.
        """
        rows = {video: row for row, video in enumerate(videos)}
        stored = {self.keys[place]: scores for place, scores in self.read().items()}
        clips = 1 + max((clip for _, _, clip, _ in stored), default=-1)
        crops, classes = max((scores.shape for scores in stored.values()), default=(0, 0))
        result = np.full((len(videos), clips, crops, classes), np.nan, np.float32)
        for (file_name, label, clip, _), scores in stored.items():
            result[rows[file_name, label], clip, : len(scores)] = scores
        return result, len(stored)

    def remove(self) -> None:
        """Remove the records of a finished test, and the folder if it is empty then."""
        try:
            for path in (*(path for path, _, _ in self._files()), self.folder / _DESCRIPTION):
                path.unlink(missing_ok=True)
            self.folder.rmdir()
        except OSError as error:
            logger.warning("%s could not be removed: %s", self.folder, error)

    def _files(self) -> Iterator[tuple[Path, np.dtype, int]]:
        """Yield each file of records with its dtype and its number of complete records."""
        for path in sorted(self.folder.glob("*.scores")):
            match = _NAME.fullmatch(path.name)
            if match:
                kind = _record_dtype(int(match[1]), int(match[2]))
                yield path, kind, path.stat().st_size // kind.itemsize


def _record_dtype(crops: int, classes: int) -> np.dtype:
    return np.dtype([("place", "<u4"), ("check", "<u4"), ("scores", "<f4", (crops, classes))])


def _checksum(record: np.void) -> int:
    return zlib.crc32(record["scores"].tobytes(), int(record["place"]))


def _shorten(value: str | None) -> str:
    """Shorten a hash or a list to 40 characters, enough to distinguish it."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
