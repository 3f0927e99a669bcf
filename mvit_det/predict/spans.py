"""Windows of videos, the results for them, and a table of their classes."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from mvit_det.data.custom.categories import Category
from mvit_det.data.video.sampling import on_screen
from mvit_det.errors import UserError
from mvit_det.predict.sources import Picture, Video
from mvit_det.tasks.classification import best
from mvit_det.tasks.video import Span

MAX_WINDOWS = 10  # per frame on average: at a low frame rate a window may contain no frame
TABLE_CLASSES = 3  # classes in a row of the log's table


def split_windows(
    times: np.ndarray, length: float, window: float | None
) -> list[tuple[float, float, range]]:
    """Cut a video into windows of equal length: (start, end, frame indices) of each.

    The last window is moved back so that it ends with the video.

    Args:
        times: (N,) start times of the frames in seconds, from the start of the video.
        length: end time of the last frame in seconds.
        window: length of a window in seconds; None for the whole video.

    Raises:
        UserError: the window is much shorter than a frame.
    """
    if window is None or window >= length:
        return [(0.0, length, range(len(times)))]
    if length > MAX_WINDOWS * len(times) * window:
        raise UserError(
            f"window={window}, in seconds, is too short for a video of {len(times)} frames in "
            f"{length:.3g} s: choose one of at least a frame, {length / len(times):.3g}."
        )
    windows = []
    for number in range(math.ceil(length / window - 1e-6)):
        start = min(number * window, length - window)
        first, last = np.searchsorted(times, (start - 1e-6, start + window - 1e-6)).tolist()
        if first == last:  # no frame begins in this window: use the one on screen
            first = int(on_screen(times, start))
        windows.append((start, start + window, range(first, max(last, first + 1))))
    return windows


def span_at(spans: Sequence[Span], frame: int) -> Span:
    """Return the last span that contains a frame index; spans are in order."""
    return spans[max(0, bisect_right(spans, frame, key=lambda span: span.frames.start) - 1)]


def format_spans(spans: Sequence[Span], categories: Sequence[Category]) -> str:
    """Format the best classes of each span, one row per span, probabilities in percent."""
    rows = []
    for span in spans:
        row = [f"{span.start:.1f} - {span.end:.1f} s"]
        for category, score in best(span.scores, categories)[:TABLE_CLASSES]:
            row += [f"{100 * score:.1f}", category["name"]]
        rows.append(row)
    head = ["time", *["%", "class"] * (len(rows[0]) // 2)]
    return tabulate(rows, head, tablefmt="pipe", disable_numparse=True)


def check_window(window: float | None) -> None:
    """Raise a `UserError` unless the window is None or a finite number of seconds above 0."""
    if window is not None and not 0 < window < math.inf:
        raise UserError(f"window={window}, in seconds, must be above 0.")


def video_paths(
    sources: Sequence[Picture | Video], on_fault: Callable[[Path, str], None]
) -> list[Path]:
    """Return the paths of the videos among the inputs, in the order given.

    Several pictures in one folder are the frames of one video, whose path is the folder. A single
    picture is passed to ``on_fault(path, reason)``.
    """
    counts = Counter(source.path.parent for source in sources if isinstance(source, Picture))
    videos: dict[Path, None] = {}
    for source in sources:
        if isinstance(source, Video):
            videos[source.path] = None
        elif counts[source.path.parent] > 1:
            videos[source.path.parent] = None
        else:
            on_fault(source.path, "a picture, and this config's model takes videos")
    return list(videos)
