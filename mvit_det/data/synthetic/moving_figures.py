"""Generated videos of figures with several simultaneous actions: a small substitute for AVA.

Two to four figures, the shapes of `motion_clips`, stay in separate places on a static background.
Four cyclic parameters ("dials", in turns) define how a figure looks in a frame: its column and row
on a short path around its place, its angle and its size. Around each whole second, from half a
second before to half a second after, one to three dials of a figure turn, each in either direction,
and the others rest: eight actions in four opposite pairs. A figure does one to three of them at a
time, and changes them every second. Key frames are the whole seconds, and their boxes cover the
figures.

By construction, actions can be recognised only by motion:

* The dials start at uniformly random values, independently of the actions, and a uniform
  distribution on a circle does not change when it is turned. So in every frame the appearance of a
  figure and its box have the same distribution for all actions: a single frame gives no more than
  the frequency of the actions.
* In a second played backwards all figures do the opposite; the set of frames is the same. So frames
  without their order show at most which dials turn, never their direction: half of the actions
  that are predicted from them are wrong.
* Frames are encoded independently, as in `motion_clips`.

The data set has videos and the files of AVA: annotated boxes, detected boxes (jittered, and some
false ones), and a label map. Every video depends only on (seed, split, index).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import box_iou

from mvit_det.data.actions.datasets import ActionClips, action_clips
from mvit_det.data.custom.categories import class_source, numbered
from mvit_det.data.synthetic.folders import item_rngs, split_folder
from mvit_det.data.synthetic.motion_clips import DIALS, MOTIONS, radius, random_scene, write_clip
from mvit_det.errors import UserError

# Brightness, the fifth dial of `motion_clips`, rests: a small model needs long to learn it.
USED_DIALS = DIALS[:4]
# action, in the order of the ids -> the dial that turns, and its direction
ACTIONS = {name: move for name, move in MOTIONS.items() if move[0] in USED_DIALS}
# Frames per second of the files: a clip with frames 3 apart at 30 per second has all of them.
FPS = 10
MIN_SCORE = 0.8  # of the detected boxes that are used; those of figures are above it

# Part of the cache folder's name: increase it whenever the drawing or the files change.
_VERSION = 1
_SPEEDS = (0.03, 0.06)  # of a dial, in turns per frame
_PATH = 20  # pixels per turn of a column or row dial, after which it jumps back
_MOST_DIALS = 3  # that turn at a time
_JITTER = 0.1  # the sides of a detected box are moved by up to this share of its size
_FALSE_SCORES = (0.5, 1.0)
_FALSE_SHARE = 0.5  # of the key frames that have a box without a figure


@dataclass(frozen=True)
class FigureVideo:
    """A drawn video of S seconds with N figures.

    Attributes:
        frames: RGB uint8 (T, H, W, 3), from second 0 to second S.
        directions: (S + 1, N, 4), direction of each dial per whole second: 1, -1, or 0 if it rests.
        boxes: (S + 1, N, 4) per whole second: x1, y1, x2, y2 as fractions of the frame (0..1).
    """

    frames: np.ndarray
    directions: np.ndarray
    boxes: np.ndarray


def random_directions(rng: np.random.Generator, num_seconds: int, num_figures: int) -> np.ndarray:
    """Draw which dials turn and their directions: (S + 1, N, 4), as in `FigureVideo`."""
    shape = (num_seconds + 1, num_figures, len(USED_DIALS))
    order = rng.permuted(np.broadcast_to(np.arange(len(USED_DIALS)), shape), axis=2)
    turning = order < rng.integers(1, _MOST_DIALS + 1, size=(*shape[:2], 1))
    return np.where(turning, rng.choice((-1, 1), size=shape), 0)


def dials_over_time(rng: np.random.Generator, directions: np.ndarray) -> np.ndarray:
    """Draw the dials (T, N, 4) of all frames, in turns, 0..1.

    The random numbers do not depend on ``directions`` (S + 1, N, 4), as in `FigureVideo`.
    """
    shape = directions.shape[1:]
    start, speeds = rng.uniform(size=shape), rng.uniform(*_SPEEDS, size=shape)
    steps = (np.arange(FPS * (len(directions) - 1)) + 0.5) / FPS  # seconds, between two frames each
    turns = directions[np.round(steps).astype(int)] * speeds
    turned = np.concatenate([np.zeros_like(turns[:1]), turns.cumsum(axis=0)])
    # From the middle on, so that opposite directions with the same seed are this video backwards.
    return np.mod(start + turned - turned[-1] / 2, 1.0)


def draw_video(
    rng: np.random.Generator, num_seconds: int, side: int, directions: np.ndarray | None = None
) -> FigureVideo:
    """Draw a video.

    Args:
        rng: source of all random numbers.
        num_seconds: S, at least 2.
        side: height and width in pixels.
        directions: (S + 1, N, 4), in place of random ones.
    """
    num_figures = int(rng.integers(2, 5))
    chosen = random_directions(rng, num_seconds, num_figures)
    directions = chosen if directions is None else directions
    scene = random_scene(rng, num_figures, (side, side))
    dials = dials_over_time(rng, directions)
    # pixels (N, 2) of the places: each figure has a quarter of the frame, and moves inside it
    quarters = np.stack(np.divmod(rng.permutation(4)[:num_figures], 2), axis=1)
    slack = side / 4 - _figure_side() / 2
    places = side / 4 * (2 * quarters + 1) + rng.uniform(-slack, slack, size=quarters.shape)
    centres = places + _PATH * (dials[..., :2] - 0.5)
    light = np.broadcast_to(rng.uniform(size=(num_figures, 1)), (*dials.shape[:2], 1))
    looks = np.concatenate([centres / side, dials[..., 2:], light], axis=2)
    frames = np.stack([scene.frame(look) for look in looks])
    # the middle of pixel 0 is at 0.5
    middle, half = centres[::FPS] + 0.5, radius(dials[::FPS, :, 3:4])
    boxes = np.concatenate([middle - half, middle + half], axis=2) / side
    return FigureVideo(frames, directions, boxes)


def _figure_side() -> float:
    """Return the side in pixels of the square that a figure needs."""
    return float(_PATH + 2 * radius(1.0) + 1)


def action_ids(directions: np.ndarray) -> list[int]:
    """Return the action ids, 1.. in the order of `ACTIONS`, of a figure's ``directions`` (4,)."""
    moves = enumerate(ACTIONS.values(), start=1)
    return [number for number, (dial, sign) in moves if directions[USED_DIALS.index(dial)] == sign]


def jitter_boxes(rng: np.random.Generator, boxes: np.ndarray) -> np.ndarray:
    """Jitter boxes like a detector, with an IoU of at least 0.64.

    Args:
        rng: source of all random numbers.
        boxes: (N, 4), x1, y1, x2, y2 as fractions of the frame.

    Returns:
        (N, 4) like ``boxes``, within 0..1.
    """
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return (boxes + rng.uniform(-_JITTER, _JITTER, size=boxes.shape) * sizes).clip(0, 1)


def false_boxes(rng: np.random.Generator, boxes: np.ndarray, side: int) -> np.ndarray:
    """Draw a box of a figure's size at a random place, in half of the calls.

    Args:
        rng: source of all random numbers.
        boxes: (N, 4) of the figures, x1, y1, x2, y2 as fractions of the frame; N > 0.
        side: height and width of the frame in pixels.

    Returns:
        (1, 4), like ``boxes``; (0, 4) if the IoU with one of ``boxes`` is above 0.2.
    """
    half = radius(rng.uniform()) / side
    centre = rng.uniform(half, 1 - half, size=2)
    box = np.concatenate([centre - half, centre + half])[None]
    covers = box_iou(*(torch.from_numpy(each) for each in (box, boxes))).max() > 0.2
    return box[: int(rng.uniform() < _FALSE_SHARE and not covers)]


def annotation_rows(video: str, drawn: FigureVideo) -> Iterator[str]:
    """Yield the rows of AVA's csv file of actions: one per figure, second and action.

    The first and the last second have no rows. ``video`` is the video's name in the rows.
    """
    for second in range(1, len(drawn.directions) - 1):
        figures = zip(drawn.boxes[second], drawn.directions[second])
        for person, (box, directions) in enumerate(figures):
            for action in action_ids(directions):
                yield f"{_row_prefix(video, second, box)},{action},{person}"


def proposal_rows(
    rng: np.random.Generator, video: str, drawn: FigureVideo, with_actions: bool
) -> Iterator[str]:
    """Yield the rows of AVA's csv file of detected boxes.

    Args:
        rng: source of all random numbers.
        video: name of the video in the rows.
        drawn: the video.
        with_actions: True, as in AVA's file for training: boxes have the actions of their figures.
            False: they have none.
    """
    for second in range(1, len(drawn.directions) - 1):
        boxes, directions = drawn.boxes[second], drawn.directions[second]
        for box, done in zip(jitter_boxes(rng, boxes), directions):
            score = rng.uniform(MIN_SCORE, 1.0)
            for action in action_ids(done) if with_actions else [""]:
                yield f"{_row_prefix(video, second, box)},{action},{score:.4f}"
        for box in false_boxes(rng, boxes, drawn.frames.shape[1]):
            yield f"{_row_prefix(video, second, box)},,{rng.uniform(*_FALSE_SCORES):.4f}"


def _row_prefix(video: str, second: int, box: np.ndarray) -> str:
    return ",".join([video, f"{second:04d}", *(f"{value:.4f}" for value in box)])


def generate_moving_figures(
    folder: str | os.PathLike,
    num_videos: int,
    seed: int | tuple[int, ...] = 0,
    num_seconds: int = 9,
    side: int = 128,
    with_actions: bool = True,
) -> None:
    """Write ``videos``, ``actions.csv``, ``proposals.csv`` and ``label_map.pbtxt`` to ``folder``.

    Args:
        folder: to write to.
        num_videos: number of videos, at least 1.
        seed: one or several integers.
        num_seconds: length of a video, at least 2; all whole seconds but the first and the last are
            key frames.
        side: height and width of the videos in pixels.
        with_actions: whether proposals have actions, see `proposal_rows`.

    Raises:
        UserError: an argument is out of its range.
    """
    if num_videos < 1 or num_seconds < 2 or side < 2 * _figure_side():
        raise UserError(
            f"Cannot draw {num_videos} videos of num_seconds={num_seconds} and side={side}: at "
            f"least 1 video, 2 seconds and {2 * _figure_side():.0f} pixels are needed."
        )
    folder = Path(folder)
    (folder / "videos").mkdir(parents=True)
    actions: list[str] = []
    proposals: list[str] = []
    for index, rng in item_rngs(folder, num_videos, seed, "video"):
        name, drawn = f"{index:05d}", draw_video(rng, num_seconds, side)
        write_clip(folder / "videos" / f"{name}.mp4", drawn.frames, FPS)
        actions += annotation_rows(name, drawn)
        proposals += proposal_rows(rng, name, drawn, with_actions)
    items = [
        f'item {{\n  name: "{name}"\n  id: {number}\n}}' for number, name in enumerate(ACTIONS, 1)
    ]
    files = {"actions.csv": actions, "proposals.csv": proposals, "label_map.pbtxt": items}
    for file, lines in files.items():
        (folder / file).write_text("".join(f"{line}\n" for line in lines), "utf-8")


@class_source(lambda node: numbered(list(ACTIONS)))
def moving_figures(
    split: str,
    num_train: int = 160,
    num_val: int = 25,
    num_seconds: int = 9,
    side: int = 128,
    seed: int = 0,
    *,
    name: str | None = None,
    num_classes: int = len(ACTIONS),
) -> ActionClips:
    """Load the key frames as an `action_clips` data set, for ``dataset=L(moving_figures)(...)``.

    Boxes are the annotated and the detected ones in training, only the detected ones in testing, as
    for AVA.

    Args:
        split: "train" or "val". Both are drawn at the first call (half a minute) and read from the
            datasets folder afterwards.
        num_train: videos of the training split.
        num_val: videos of the validation split.
        num_seconds: length of a video, which has ``num_seconds - 1`` key frames.
        side: height and width of the videos in pixels.
        seed: of the drawing.
        name: as for `action_clips`.
        num_classes: as for `action_clips`.

    Raises:
        UserError: an argument is out of its range, or the datasets folder is not writable.
    """

    def draw(folder: Path, count: int, seeds: tuple[int, int]) -> None:
        with_actions = folder.name == "train"
        generate_moving_figures(folder, count, seeds, num_seconds, side, with_actions)

    settings, counts = f"{num_seconds}s-{side}px", (num_train, num_val)
    folder = split_folder(split, "moving_figures", settings, draw, counts, seed, _VERSION)
    return action_clips(
        str(folder / "videos"),
        actions=str(folder / "actions.csv"),
        proposals=[str(folder / "proposals.csv")],
        min_score=MIN_SCORE,
        annotated_boxes=split == "train",
        label_map=str(folder / "label_map.pbtxt"),
        num_classes=num_classes,
        name=name or f"moving_figures_{split}",
    )
