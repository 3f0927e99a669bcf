"""Pictures of some key frames of a test set: predicted actions next to ground truth."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_iou

from mvit_det.errors import printable
from mvit_det.evaluation.actions.files import ActionTruth
from mvit_det.evaluation.drawing.boxes import class_colour, enlargement, resize_image, to_pixels
from mvit_det.evaluation.drawing.people import Colour, draw_people
from mvit_det.evaluation.drawing.side_by_side import overview, side_by_side
from mvit_det.evaluation.example_selection import lowest_keys

_NOBODY = (150, 150, 150)  # RGB of a predicted box where the ground truth has none


class KeyFrame(NamedTuple):
    """A tested key frame; those with the lowest ``key`` are drawn.

    Attributes:
        key: hash of video and second.
        video: name.
        second: time in the video.
        picture: (H, W, 3) uint8, RGB, the model's input.
        part: (4,) region of the frame that ``picture`` contains: x1, y1, x2, y2 as fractions.
        boxes: (N, 4) x1, y1, x2, y2 as fractions of the frame.
        scores: (N, K) probabilities of the evaluated actions.
    """

    key: int
    video: str
    second: float
    picture: np.ndarray
    part: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


class KeyFrameExamples:
    """Keeps some key frames of a test set while it is processed.

    They are chosen by a hash of video and second: the same in each evaluation, for any order of the
    inputs and any number of processes. Only the chosen ones are in memory.

    Args:
        count: number of key frames to keep.
        pixel_mean: subtracted from the model's inputs, RGB from 0 to 1.
        pixel_std: divisor of the model's inputs, RGB.
    """

    def __init__(self, count: int, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
        self.count = count
        self.mean, self.std = (torch.tensor([*v]).view(-1, 1, 1) for v in (pixel_mean, pixel_std))
        self.kept: list[KeyFrame] = []

    def offer(
        self, inputs: Mapping[str, Any], index: int, boxes: np.ndarray, scores: np.ndarray
    ) -> None:
        """Keep the middle frame of a clip if it is among the chosen ones so far.

        Args:
            inputs: a batch of B clips, with lists "video", "second", "inputs" (3, T, H, W) and
                "visible_area" (4,), the region of the frame in the clip.
            index: of the clip in the batch.
            boxes: (N, 4) x1, y1, x2, y2 as fractions of the frame.
            scores: (N, K) probabilities of the evaluated actions.
        """
        video, second = inputs["video"][index], inputs["second"][index]
        key = zlib.crc32(f"{printable(video)},{second:g}".encode())
        if len(self.kept) == self.count and key >= self.kept[-1].key:
            return
        clip, part = inputs["inputs"][index], inputs["visible_area"][index].numpy()
        picture = to_pixels(clip[:, clip.shape[1] // 2], self.mean, self.std)
        self.kept.append(KeyFrame(key, video, second, picture, part, boxes, scores))
        self.kept = lowest_keys(self.kept, self.count, 3)


def draw_key_frames(
    folder: Path,
    key_frames: Sequence[KeyFrame],
    truth: ActionTruth,
    names: Mapping[int, str],
    min_score: float,
) -> None:
    """Write ``00_<video>_<second>.png`` ..., and all of them on one sheet, ``overview.png``.

    Args:
        folder: output folder; created if needed.
        key_frames: to draw; nothing is written if there are none.
        truth: the annotated boxes.
        names: of the evaluated actions, by id; predicted scores are in ascending order of the ids.
        min_score: predictions of a lower score are not drawn.
    """
    if not key_frames:
        return
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, frame in enumerate(key_frames):
        paths.append(folder / f"{number:02d}_{Path(frame.video).name}_{frame.second:g}.png")
        Image.fromarray(_draw_key_frame(frame, truth, names, min_score)).save(paths[-1])
    overview(paths).save(folder / "overview.png")


def _draw_key_frame(
    frame: KeyFrame, truth: ActionTruth, names: Mapping[int, str], min_score: float
) -> np.ndarray:
    """Draw predictions and ground truth of a key frame side by side, (H, W, 3) uint8, RGB."""
    picture = resize_image(frame.picture, enlargement(*frame.picture.shape[:2]))
    columns = [names[k] for k in sorted(names)]
    predicted = []
    for scores in frame.scores:
        best = [k for k in np.argsort(-scores, kind="stable") if scores[k] >= min_score]
        predicted.append([f"{columns[k]} {scores[k]:.0%}" for k in best])
    table = truth.at(frame.video, frame.second)
    boxes, box_index = np.unique(table.box, axis=0, return_inverse=True)
    actions: list[list[str]] = [[] for _ in boxes]
    for box, action in zip(box_index.ravel().tolist(), table.action.tolist()):
        actions[box] += [names[action]] if action in names else []
    # a person has one colour on both sides
    colours = [class_colour(k) for k in range(len(boxes))]
    matching = [colours[k] if k >= 0 else _NOBODY for k in _best_overlaps(frame.boxes, boxes)]
    left, right = (
        draw_people(picture, *_crop_to_part(frame.part, *people))
        for people in ((frame.boxes, predicted, matching), (boxes, actions, colours))
    )
    counts = sum(map(len, predicted)), sum(map(len, actions))
    return side_by_side(left, right, counts, min_score)


def _best_overlaps(boxes: np.ndarray, targets: np.ndarray) -> list[int]:
    """Return for each of N boxes the index of the target of the highest IoU, -1 if IoU < 0.5."""
    iou = box_iou(torch.from_numpy(boxes).double(), torch.from_numpy(targets))
    best, target = iou.max(dim=1)
    return torch.where(best >= 0.5, target, -1).tolist()


def _crop_to_part(
    part: np.ndarray, boxes: np.ndarray, labels: list[list[str]], colours: list[Colour]
) -> tuple[np.ndarray, list[list[str]], list[Colour]]:
    """Convert boxes to fractions of the visible part; drop boxes, labels and colours outside it."""
    size = np.tile(part[2:] - part[:2], 2)
    boxes = np.clip((boxes - np.tile(part[:2], 2)) / size, 0, 1)
    visible = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    return boxes[visible], [labels[index] for index in visible], [colours[k] for k in visible]
