"""Checks of AVA's csv files and of the videos of their key frames."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mvit_det.ava_files import BoxTable, read_boxes, read_excluded, read_label_map
from mvit_det.data.actions.datasets import ActionClips, resolve_paths
from mvit_det.data.actions.key_frames import (
    box_faults,
    repeated_rows,
    seconds_of,
    videos_with_rows,
)
from mvit_det.data.actions.mapper import check_key_frame
from mvit_det.data.checks.findings import Finding
from mvit_det.data.checks.videos import VideoCheck, missing_video
from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.data.paths import resolve_path
from mvit_det.errors import shorten_list


@dataclass(frozen=True)
class KeyFramesCheck(VideoCheck):
    """The check of one video with key frames.

    Attributes:
        times: its key frames in seconds from the beginning of the file.
        start: second of the movie at which the file begins.
    """

    times: Sequence[float] | np.ndarray = ()
    start: float = 0.0

    def judge(self, video: OpenVideo) -> Iterator[Finding]:
        """Yield what is wrong with an open video, and its key frames that are outside of it.

        Raises:
            VideoError: a frame cannot be decoded.
        """
        outside = {}
        for time in self.times:
            try:
                check_key_frame(video, time, self.start, os.path.isdir(self.path))
            except VideoError as error:
                outside[time + self.start] = str(error)
        if outside:
            second, reason = next(iter(outside.items()))
            yield self.finding(
                "error",
                "key frame outside",
                f"{len(outside)} of its {len(self.times)} key frames, such as second {second:g}, "
                f"have no frame ({reason}): correct the seconds, or start and fps of the data",
                second=second,
            )
        yield from super().judge(video)


@dataclass(frozen=True)
class CsvFiles:
    """The files of a split that have been given to `action_clips`, by their paths.

    Attributes:
        actions: csv files of annotated boxes.
        proposals: csv files of person boxes.
        excluded: csv file of key frames that are not evaluated.
        label_map: names of the evaluated actions.
        num_classes: number of model outputs; a larger id is refused.
        min_score: lowest score of a proposal that is used.
        annotated_boxes: False: proposals are the only boxes, as in testing.
    """

    actions: Sequence[str] = ()
    proposals: Sequence[str] = ()
    excluded: str | None = None
    label_map: str | None = None
    num_classes: int = 80
    min_score: float = 0.8
    annotated_boxes: bool = True

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "CsvFiles":
        """Take the arguments of the config node of a data set; generated ones have none.

        Raises:
            UserError: a file does not exist.
        """
        given = {
            field.name: node[field.name]
            for field in fields(cls)
            if node.get(field.name) is not None
        }
        for name in given.keys() & {"actions", "proposals"}:
            given[name] = resolve_paths(given[name], f"The file of {name}")
        for name in given.keys() & {"excluded", "label_map"}:
            given[name] = str(resolve_path(given[name], "The file"))
        return cls(**given)

    def action_counts(self) -> dict[str, int]:
        """Count the annotated boxes of each action of the label map, or of each id without it."""
        ids: Counter[int] = Counter()
        for path in self.actions:
            ids.update(read_boxes(path, "actions").action.tolist())
        known = {number: f"action {number}" for number in ids}
        names = read_label_map(self.label_map) if self.label_map else known
        return {name: ids[number] for number, name in names.items()}

    def findings(self) -> Iterator[Finding]:
        """Yield what is suspicious in readable files.

        Raises:
            UserError: a file cannot be read.
        """
        annotated = {path: read_boxes(path, "actions") for path in self.actions}
        proposed = {path: read_boxes(path, "proposals") for path in self.proposals}
        for path, table in (annotated | proposed).items():
            yield from _box_findings(path, table)
        for path, table in annotated.items():
            for row in repeated_rows(table).tolist():
                effect = "repeats an earlier one, and the metric counts both: delete it"
                yield _row("warning", "repeated row", f"the row {effect}", path, table, row)
        key_frames: set[tuple[str, float]] = set().union(*map(seconds_of, annotated.values()))
        yield from _unknown_videos(proposed, {video for video, _ in key_frames}, self.actions)
        if proposed and not self.annotated_boxes:
            yield from self._without_proposals(key_frames, proposed)
        if self.excluded:
            yield from _excluded_findings(self.excluded, key_frames, self.actions)
        if self.label_map:
            yield from _label_findings(self.label_map, annotated, self.num_classes)

    def _without_proposals(
        self, key_frames: set[tuple[str, float]], proposed: Mapping[str, BoxTable]
    ) -> Iterator[Finding]:
        used = (table.rows(table.score >= self.min_score) for table in proposed.values())
        without = key_frames - set().union(*map(seconds_of, used))
        if without:
            yield Finding(
                "note",
                "key frame without proposal",
                f"{len(without)} of {len(key_frames)} annotated key frames have no proposal of a "
                f"score of at least {self.min_score:g}, so that their people are not found "
                f"({_named(without)}): detect people there, or lower min_score",
                file=self.proposals[0],
            )


def _row(severity: Any, kind: str, message: str, path: str, table: BoxTable, row: int) -> Finding:
    place = dict(line=int(table.line[row]), video=table.videos[table.video[row]])
    place["second"] = float(table.second[row])
    return Finding(severity, kind, message, file=path, ids=place)


def _box_findings(path: str, table: BoxTable) -> Iterator[Finding]:
    kinds: Sequence[tuple[Any, str, str]] = (
        ("error", "box without area", "has x2 <= x1 or y2 <= y1 and is dropped: correct it"),
        ("error", "box outside frame", "is outside of 0 to 1 and is dropped: correct it"),
        ("warning", "box beyond frame", "is clipped to 0 to 1: correct it"),
    )
    for (severity, kind, effect), rows in zip(kinds, box_faults(table.box)):
        for row in np.flatnonzero(rows).tolist():
            box = ", ".join(f"{side:g}" for side in table.box[row])
            yield _row(severity, kind, f"the box {box} {effect}", path, table, row)


def _unknown_videos(
    proposed: Mapping[str, BoxTable], known: set[str], actions: Sequence[str]
) -> Iterator[Finding]:
    for path, table in proposed.items():
        for video in sorted(set(videos_with_rows(table)) - known):
            yield Finding(
                "warning",
                "proposals of unknown video",
                f"{shorten_list(actions)} annotate nothing of the video {video}, whose proposals "
                "count as people who do nothing: correct the name, or delete its rows",
                file=path,
                ids=dict(video=video),
            )


def _excluded_findings(
    path: str, key_frames: set[tuple[str, float]], actions: Sequence[str]
) -> Iterator[Finding]:
    excluded = read_excluded(path)
    labelled = excluded & key_frames
    if labelled:
        yield Finding(
            "note",
            "excluded key frame with labels",
            f"{len(labelled)} key frames with labels are excluded from the evaluation "
            f"({_named(labelled)}): if they are to be counted, delete their rows",
            file=path,
        )
    strange = {video for video, _ in excluded} - {video for video, _ in key_frames}
    if strange:
        yield Finding(
            "warning",
            "excluded key frame of unknown video",
            f"{shorten_list(actions)} annotate nothing of the excluded videos "
            f"{shorten_list(sorted(strange))}: correct the names",
            file=path,
        )


def _label_findings(
    path: str, annotated: Mapping[str, BoxTable], num_classes: int
) -> Iterator[Finding]:
    names = read_label_map(path)
    for file, table in annotated.items():
        ids, counts = np.unique(table.action, return_counts=True)
        for number, count in zip(ids.tolist(), counts.tolist()):
            if number not in names and number <= num_classes:
                yield Finding(
                    "note",
                    "action outside label map",
                    f"{count} rows have the action {number}, which {path} does not name, so that "
                    "it is trained, but not evaluated: name it there, or correct the rows",
                    file=file,
                    ids=dict(action=number),
                )


def _named(key_frames: Iterable[tuple[str, float]]) -> str:
    return shorten_list((f"{video} at {second:g}" for video, second in sorted(key_frames)), 3)


def key_frame_checks(
    dataset: Iterable[Mapping[str, Any]], actions: Sequence[str], **options: Any
) -> Iterator[Finding | KeyFramesCheck]:
    """Yield the videos that are missing, and the check of each video.

    Args:
        dataset: the key frames of a split, items as those of `ActionClips`.
        actions: the csv files that name the videos, for findings.
        **options: of `KeyFramesCheck`.
    """
    items: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in dataset:
        items[item["file_name"]].append({key: item.get(key) for key in ("second", "time", "fps")})
    if isinstance(dataset, ActionClips):
        for name in dataset.missing:
            yield missing_video(name, shorten_list(actions), "its key frames are left out")
    for path, found in items.items():
        times, first = np.array([item["time"] for item in found]), found[0]
        start = first["second"] - first["time"]
        yield KeyFramesCheck(path, first["fps"], times=times, start=start, **options)
