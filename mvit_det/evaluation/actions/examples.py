"""Some key frames of a test set: predicted actions next to ground truth."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_iou

from mvit_det.errors import printable
from mvit_det.evaluation.actions.files import ActionTruth
from mvit_det.evaluation.drawing.boxes import class_colour, enlargement, pixels_of, resized
from mvit_det.evaluation.drawing.people import Colour, draw_people
from mvit_det.evaluation.drawing.side_by_side import overview, side_by_side

_NOBODY = (150, 150, 150)  # RGB of a predicted box where the ground truth has none


class KeyFrame(NamedTuple):
    """A tested key frame; those with the lowest ``key`` are shown.

    Attributes:
        key: hash of video and second.
        video: name.
        second: time in the video.
        picture: (H, W, 3) uint8, RGB, as the model saw it.
        part: (4,) region of the frame that ``picture`` shows: x1, y1, x2, y2 as fractions.
        boxes: (N, 4) x1, y1, x2, y2 as fractions of the frame.
        scores: (N, K) of the evaluated actions.
    """

    key: int
    video: str
    second: float
    picture: np.ndarray
    part: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


class KeyFrames:
    """Keeps some key frames of a test set while it is processed.

    They are chosen by a hash of video and second. So the choice is the same in each evaluation,
    does not depend on the order of the inputs or on the number of processes, and only the chosen
    ones are in memory.

    Args:
        count: number of key frames to keep.
        pixel_mean: subtracted from the model's inputs, RGB from 0 to 1.
        pixel_std: divisor of the model's inputs, RGB.
    """

    def __init__(self, count: int, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
        self.count = count
        self.mean, self.std = (torch.tensor(v).view(-1, 1, 1) for v in (pixel_mean, pixel_std))
        self.kept: list[KeyFrame] = []

    def offer(
        self, inputs: Mapping[str, Any], index: int, boxes: np.ndarray, scores: np.ndarray
    ) -> None:
        """Keep the middle frame of clip ``index`` of a batch if it is among those to show."""
        video, second = inputs["video"][index], inputs["second"][index]
        key = zlib.crc32(f"{printable(video)},{second:g}".encode())
        if len(self.kept) == self.count and key >= self.kept[-1].key:
            return
        clip, part = inputs["inputs"][index], inputs["visible_area"][index].numpy()
        picture = pixels_of(clip[:, clip.shape[1] // 2], self.mean, self.std)
        self.kept.append(KeyFrame(key, video, second, picture, part, boxes, scores))
        self.kept = first_of(self.kept, self.count)


def first_of(kept: Iterable[KeyFrame], count: int) -> list[KeyFrame]:
    """Return the ``count`` key frames of the lowest key, without duplicates."""
    each = {(one.video, one.second): one for one in kept}
    return sorted(each.values(), key=lambda one: one[:3])[:count]


def draw_key_frames(
    folder: Path,
    key_frames: Sequence[KeyFrame],
    truth: ActionTruth,
    names: Mapping[int, str],
    min_score: float,
) -> None:
    """Write ``00_<video>_<second>.png`` ..., and all of them on one sheet, ``overview.png``.

    Args:
        folder: to write to; it is made.
        key_frames: to draw.
        truth: the annotated boxes.
        names: of the evaluated actions, by id; predicted scores are in ascending order of the ids.
        min_score: predictions of a lower score are not drawn.
    """
    if not key_frames:
        return
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, one in enumerate(key_frames):
        paths.append(folder / f"{number:02d}_{Path(one.video).name}_{one.second:g}.png")
        Image.fromarray(_drawn(one, truth, names, min_score)).save(paths[-1])
    overview(paths).save(folder / "overview.png")


def _drawn(
    one: KeyFrame, truth: ActionTruth, names: Mapping[int, str], min_score: float
) -> np.ndarray:
    picture = resized(one.picture, enlargement(*one.picture.shape[:2]))
    shown = [names[k] for k in sorted(names)]
    predicted = []
    for scores in one.scores:
        best = [k for k in np.argsort(-scores, kind="stable") if scores[k] >= min_score]
        predicted.append([f"{shown[k]} {scores[k]:.0%}" for k in best])
    table = truth.at(one.video, one.second)
    boxes, which = np.unique(table.box, axis=0, return_inverse=True)
    actions: list[list[str]] = [[] for _ in boxes]
    for box, action in zip(which.ravel().tolist(), table.action.tolist()):
        actions[box] += [names[action]] if action in names else []
    # a person has one colour on both sides
    own = [class_colour(k) for k in range(len(boxes))]
    same = [own[k] if k >= 0 else _NOBODY for k in _overlapping(one.boxes, boxes)]
    left, right = (
        draw_people(picture, *_inside(one.part, *columns))
        for columns in ((one.boxes, predicted, same), (boxes, actions, own))
    )
    counts = sum(map(len, predicted)), sum(map(len, actions))
    return side_by_side(left, right, counts, min_score)


def _overlapping(boxes: np.ndarray, others: np.ndarray) -> list[int]:
    """Return for each of N boxes the index of the one it overlaps most, -1 if IoU < 0.5."""
    overlap = box_iou(torch.from_numpy(boxes).double(), torch.from_numpy(others))
    best, which = overlap.max(dim=1)
    return torch.where(best >= 0.5, which, -1).tolist()


def _inside(
    part: np.ndarray, boxes: np.ndarray, labels: list[list[str]], colours: list[Colour]
) -> tuple[np.ndarray, list[list[str]], list[Colour]]:
    """Convert boxes to fractions of the visible part; drop boxes, labels and colours outside it."""
    size = np.tile(part[2:] - part[:2], 2)
    boxes = np.clip((boxes - np.tile(part[:2], 2)) / size, 0, 1)
    seen = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    return boxes[seen], [labels[index] for index in seen], [colours[index] for index in seen]
