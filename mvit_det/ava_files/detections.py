"""Write action detections in AVA's official result format."""

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from mvit_det.ava_files.boxes import BoxTable
from mvit_det.files import atomic_file

_CHUNK = 1 << 16


def detections_table(
    frames: Sequence[tuple[str, float, np.ndarray, np.ndarray]], actions: Sequence[int]
) -> BoxTable:
    """Convert detections per key frame to a table with one row per box and action.

    Args:
        frames: (video, second, boxes (N, 4) as fractions of the frame, scores (N, K)) of each key
            frame; at least one.
        actions: the K action ids, at least 1.

    Returns:
        The rows in the order of the key frames, their boxes, and ``actions``; ``line`` is 0.
    """
    videos, seconds, boxes, scores = zip(*frames)
    names = list(dict.fromkeys(videos))
    rows = np.repeat(np.arange(len(frames)), [array.size for array in scores])
    return BoxTable(
        names,
        video=np.array([names.index(video) for video in videos], np.int32)[rows],
        second=np.array(seconds)[rows],
        box=np.concatenate(boxes).repeat(len(actions), axis=0),
        action=np.resize(np.asarray(actions, np.int64), len(rows)),
        score=np.concatenate(scores).ravel().astype(np.float64),
        line=np.zeros(len(rows), np.int64),
    )


def write_detections(path: str | os.PathLike, table: BoxTable) -> None:
    """Write rows video,second,x1,y1,x2,y2,action,score, which `read_boxes` reads back.

    Integer seconds are written as 0902, coordinates with six digits (0.004 pixels in a frame 4000
    pixels wide), scores with nine digits, enough to distinguish any two float32 values and so to
    keep their order. Key frames without a box become rows of two columns.
    """
    names = [_quote(name) for name in table.videos]
    with atomic_file(path) as partial:
        with open(partial, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.writelines(f"{_quote(video)},{_format_second(at)}\n" for video, at in table.empty)
            for begin in range(0, len(table), _CHUNK):
                file.write(_format_rows(names, table, slice(begin, begin + _CHUNK)))


def _format_rows(names: list[str], table: BoxTable, part: slice) -> str:
    # A box has a row for each of 60 actions: format the common part once.
    keys = np.column_stack([table.video[part], table.second[part], table.box[part]])
    changed = np.ones(len(keys), bool)
    changed[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    starts = [
        f"{names[int(video)]},{_format_second(second)},{x1:.6g},{y1:.6g},{x2:.6g},{y2:.6g}"
        for video, second, x1, y1, x2, y2 in keys[changed].tolist()
    ]
    fields: list[Any] = [None] * (3 * len(keys))
    fields[0::3] = [starts[number] for number in (changed.cumsum() - 1).tolist()]
    fields[1::3] = table.action[part].tolist()
    fields[2::3] = table.score[part].tolist()
    return "%s,%d,%.9g\n" * len(keys) % tuple(fields)


def _format_second(second: float) -> str:
    return f"{int(second):04d}" if second == int(second) else repr(float(second))


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if re.search('[",]', name) else name
