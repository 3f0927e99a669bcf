"""Prediction of an action detector: what each person does, at key frames of videos."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import instantiate
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mvit_det.data.actions.mapper import OUTSIDE, ActionClipMapper
from mvit_det.data.custom.categories import Category
from mvit_det.data.decoding.reader import VideoError
from mvit_det.errors import UserError, some
from mvit_det.evaluation.drawing.boxes import enlargement, resized
from mvit_det.evaluation.drawing.people import draw_people
from mvit_det.predict.classification import finite
from mvit_det.predict.open_frames import gathered, opened, shown_at

SHOWN = 4  # actions at a box in a picture


@dataclass(frozen=True)
class People:
    """What a model says of the people at a key frame.

    Attributes:
        second: of the video, from 0 on.
        frame: the index of the frame on screen then.
        size: (H, W) of the video's frames, in pixels.
        boxes: (N, 4) float64, x1, y1, x2, y2 as shares of the frame.
        scores: (N, K), the probability of each action on its own, on the CPU.
        box_scores: (N,) float64, how sure it is that this is a person; NaN where nobody tells.
    """

    second: float
    frame: int
    size: tuple[int, int]
    boxes: np.ndarray
    scores: torch.Tensor
    box_scores: np.ndarray


@dataclass(frozen=True)
class KeyClip:
    """The frames around a key frame.

    Attributes:
        second, frame: as of `People`.
        clip: (T, H, W, 3) uint8, RGB.
        picture: (H, W, 3) uint8, RGB, the key frame.
    """

    second: float
    frame: int
    clip: np.ndarray
    picture: np.ndarray


def raised(second: float, error: VideoError) -> None:
    """What becomes of a key frame that cannot be decoded, where nobody minds it."""
    raise error


class ActionDetection:
    """Names what people do: the results are the scores (N, K) of all actions for N boxes.

    Args:
        sampling: chooses the frames of a clip around a key frame.
        transform: of frames (T, H, W, 3) RGB and boxes (N, 4) in 0..1 makes the model's input
            (3, T, h, w) and boxes in its pixels, as the config does in testing.
        num_actions: K.
        score_threshold: actions of a lower score are neither drawn nor told.
        fps: frames per second of folders of frames.
    """

    num_classes_key = "model.num_classes"

    def __init__(
        self,
        sampling: Any,
        transform: Callable[[np.ndarray, np.ndarray], tuple[torch.Tensor, torch.Tensor]],
        num_actions: int,
        score_threshold: float = 0.0,
        fps: float | None = None,
    ) -> None:
        self.sampling = sampling
        self.transform = transform
        self.num_actions = num_actions
        self.score_threshold = score_threshold
        self.fps = fps

    @classmethod
    def of_config(cls, cfg: DictConfig, score_threshold: float) -> "ActionDetection":
        """With the sampling and the transform of the config's test loader."""
        mapper = cfg.dataloader.test.mapper
        fps = OmegaConf.select(cfg, "dataloader.test.dataset.fps")
        parts = instantiate(mapper.sampling), instantiate(mapper.transform)
        return cls(*parts, cfg.model.num_classes, score_threshold, fps)

    def open(
        self, video: str | os.PathLike | np.ndarray, fps: float | None = None
    ) -> AbstractContextManager:
        """A video file, a folder of frames, or an array of frames, for a ``with`` block."""
        return opened(video, fps, self.fps)

    def key_clips(
        self,
        video: Any,
        seconds: Sequence[float],
        on_fault: Callable[[float, VideoError], None] = raised,
    ) -> Iterator[KeyClip]:
        """The clip around each second of an opened video, in order.

        Args:
            on_fault: is told of seconds around which a frame cannot be decoded, and unless it raises
                they are left out.
        """
        keys = [shown_at(video, second) for second in seconds]
        # the key frame itself as well, which need not be one of the clip's
        wanted = [
            [*self.sampling.around(video.times, second), key] for second, key in zip(seconds, keys)
        ]
        for place, frames in gathered(
            video, wanted, lambda place, error: on_fault(seconds[place], error)
        ):
            yield KeyClip(seconds[place], keys[place], frames[:-1], frames[-1])

    def prepare(self, clip: np.ndarray, boxes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """A clip (T, H, W, 3) RGB and boxes in 0..1 as the test mapper gives them to the model."""
        return self.transform(clip, boxes.astype(np.float32))

    def batch(self, samples: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, Any]:
        """What the model takes."""
        clips, boxes = zip(*samples)
        return {"inputs": torch.stack(clips), "boxes": list(boxes)}

    def results(self, outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What the model gave, one by one and on the CPU."""
        return [finite(scores) for scores in outputs]

    def draw(
        self, image: np.ndarray, result: People | None, categories: Sequence[Category]
    ) -> np.ndarray:
        """Boxes with the best actions on an image (H, W, 3), both BGR; a small one is enlarged."""
        large = resized(image, enlargement(*image.shape[:2]))
        if result is None:
            return large
        labels = [
            [f"{score:.0%} {category['name']}" for category, score in actions[:SHOWN]]
            for actions in self.best(result, categories)
        ]
        return draw_people(large[..., ::-1], result.boxes, labels)[..., ::-1]

    def best(
        self, result: People, categories: Sequence[Category]
    ) -> list[list[tuple[Category, float]]]:
        """For each box the named actions from the threshold on with their scores, the best first."""
        named = [category["id"] - 1 for category in categories]
        found = []
        for scores in result.scores[:, named].tolist():
            kept = [pair for pair in zip(categories, scores) if pair[1] >= self.score_threshold]
            found.append(sorted(kept, key=lambda pair: -pair[1]))
        return found

    def unseen(self, result: People) -> int:
        """How many boxes lie where the transform cuts the frame off: nothing tells their actions."""
        part = np.array(self.transform.shown(*result.size))
        start = np.maximum(result.boxes[:, :2], part[:2])
        end = np.minimum(result.boxes[:, 2:], part[2:])
        return int((end <= start).any(axis=1).sum())

    def rows(
        self, result: People, image_id: int, categories: Sequence[Category]
    ) -> list[dict[str, Any]]:
        """One entry per box, with its actions from the threshold on, the best first."""
        height, width = result.size
        entries = []
        for number, actions in enumerate(self.best(result, categories)):
            left, top, right, bottom = result.boxes[number].tolist()
            box = left * width, top * height, (right - left) * width, (bottom - top) * height
            entry: dict[str, Any] = {"image_id": image_id, "bbox": [round(x, 2) for x in box]}
            if not math.isnan(result.box_scores[number]):
                entry["box_score"] = float(result.box_scores[number])
            entry["classes"] = [
                {"category_id": category["id"], "name": category["name"], "score": score}
                for category, score in actions
            ]
            entries.append(entry)
        return entries

    def told(self, rows: int) -> str:
        """What has come of it, in words."""
        return f"{rows} boxes, with the actions of score >= {self.score_threshold:g}"


def is_of_actions(mapper: Mapping[str, Any]) -> bool:
    """Whether a config's mapper prepares clips with boxes."""
    target = mapper.get("_target_")
    target = get_object(target) if isinstance(target, str) else target
    return isinstance(target, type) and issubclass(target, ActionClipMapper)


def length(video: Any) -> float:
    """Seconds that an opened video lasts, with its last frame."""
    return video.end


def within(video: Any, seconds: Sequence[float]) -> tuple[list[float], list[float]]:
    """Those of the seconds that an opened video has, in order, and those that it has not.

    Up to a second outside counts as its first or last frame, as in evaluation: lists of key frames
    and videos are cut by different rules.
    """
    ends = -OUTSIDE, length(video) + OUTSIDE
    inside = [second for second in sorted(seconds) if ends[0] <= second <= ends[1]]
    return inside, sorted(set(seconds).difference(inside))


def not_within(video: Any, seconds: Sequence[float]) -> str:
    """The fault of key frames outside of an opened video."""
    told = some([f"{second:g}" for second in seconds], limit=3)
    return f"it lasts {length(video):.4g} s, and has no second {told}"


def given_boxes(boxes: Mapping[float, Any]) -> dict[float, np.ndarray]:
    """Boxes by seconds as float64 (N, 4)."""
    if not isinstance(boxes, Mapping) or not boxes:
        raise UserError(
            "boxes must be person boxes by seconds, such as {2.0: [[0.1, 0.2, 0.5, 0.9]]}, not "
            f"{type(boxes).__name__ if boxes else 'nothing'}."
        )
    known = {}
    for second, given in boxes.items():
        array = np.asarray(given, dtype=np.float64)
        array = array.reshape(-1, 4) if array.size == 0 else array
        if array.ndim != 2 or array.shape[1] != 4:
            raise UserError(f"boxes[{second!r}] must be (N, 4), not of shape {array.shape}.")
        wrong = ~((array >= 0) & (array <= 1)).all(axis=1)
        wrong |= (array[:, 2:] <= array[:, :2]).any(axis=1)
        if wrong.any():
            raise UserError(
                f"boxes[{second!r}] has {array[wrong][0].tolist()}: a box must be x1, y1, x2, y2 as "
                "shares of the frame, from 0 to 1, with x1 < x2 and y1 < y2; divide pixels by its "
                "width and height."
            )
        known[float(second)] = array
    return known
