"""Generated videos of figures that do several things at once, which only motion tells: AVA in small.

Two to four figures, the shapes of `motion_clips`, keep to places of their own on a still ground.
Four dials, each a circle, say how a figure looks in a frame: its column and row on a short path about
its place, its angle and its size. Around each whole second, from half a second before to half a second
after, one to three dials of a figure turn, each in either direction, and the others rest: eight actions
in four opposite pairs, of which a figure does one to three at a time, and others in the next second.
Key frames are the whole seconds, and their boxes cover the figures there.

Nothing but motion tells the actions, by construction:

* The dials start anywhere, evenly and independently of what they do. A circle that is turned by any
  amount stays evenly filled, so in every frame the look of a figure, and its box with it, has one and
  the same distribution whatever the figure does: one frame tells no more than how frequent an action is.
* A second played backwards is one in which all figures do the opposite: the two have the same sets of
  frames. So frames without their order tell at most which dials turn, and never which way: of the
  actions that are named by them half are wrong.
* Frames are encoded without reference to each other, as in `motion_clips`.

Written are videos and the files of AVA: annotated boxes, boxes as a detector would find them (shaken,
some where nothing is), and a label map. Every video is drawn from (seed, split, index) alone.
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
from mvit_det.data.synthetic.folders import generated_split, numbered_rngs
from mvit_det.data.synthetic.motion_clips import DIALS, MOTIONS, random_scene, reach, write_clip
from mvit_det.errors import UserError

# Brightness, the fifth dial of `motion_clips`, rests: a small model is long in finding out about it.
TURNED = DIALS[:4]
# what is done, in the order of the ids -> the dial that turns, and which way
ACTIONS = {name: move for name, move in MOTIONS.items() if move[0] in TURNED}
# Of the files. A clip of frames 3 apart at 30 per second has each of them.
FPS = 10
MIN_SCORE = 0.8  # of the found boxes that are used; every figure's has more

# Written into the cache folder's name: raise it whenever the drawing or the files change.
_VERSION = 1
_SPEEDS = (0.03, 0.06)  # of a dial, in turns per frame
_PATH = 20  # pixels, of a column or row dial's turn, behind which it jumps back
_MOST_DIALS = 3  # that turn at a time
_SHAKE = 0.1  # of a found box: its sides are moved by up to this share of its size
_FALSE_SCORES = (0.5, 1.0)
_FALSE_SHARE = 0.5  # of the key frames that have a box where no figure is


@dataclass(frozen=True)
class FigureVideo:
    """A drawn video of S seconds, N figures.

    Attributes:
        frames: RGB bytes (T, H, W, 3), at second 0 the first and at second S the last.
        ways: (S + 1, N, 4) for each whole second and dial: 1, -1, or 0 where it rests.
        boxes: (S + 1, N, 4) at the whole seconds: x1, y1, x2, y2 as shares of the frame.
    """

    frames: np.ndarray
    ways: np.ndarray
    boxes: np.ndarray


def chosen_ways(rng: np.random.Generator, num_seconds: int, num_figures: int) -> np.ndarray:
    """(S + 1, N, 4) as in `FigureVideo`: which dials turn, and which way."""
    shape = (num_seconds + 1, num_figures, len(TURNED))
    order = rng.permuted(np.broadcast_to(np.arange(len(TURNED)), shape), axis=2)
    turning = order < rng.integers(1, _MOST_DIALS + 1, size=(*shape[:2], 1))
    return np.where(turning, rng.choice((-1, 1), size=shape), 0)


def dials_over_time(rng: np.random.Generator, ways: np.ndarray) -> np.ndarray:
    """The dials (T, N, 4) of all frames, in turns; draws the same numbers whatever the ways."""
    start, speeds = rng.uniform(size=ways.shape[1:]), rng.uniform(*_SPEEDS, size=ways.shape[1:])
    steps = (np.arange(FPS * (len(ways) - 1)) + 0.5) / FPS  # seconds, between two frames each
    turns = ways[np.round(steps).astype(int)] * speeds
    turned = np.concatenate([np.zeros_like(turns[:1]), turns.cumsum(axis=0)])
    # Counted from the middle, so that the opposite ways of the same seed are this video backwards.
    return np.mod(start + turned - turned[-1] / 2, 1.0)


def draw_video(
    rng: np.random.Generator, num_seconds: int, side: int, ways: np.ndarray | None = None
) -> FigureVideo:
    """Draw a video of any scene; ``ways`` in place of random ones."""
    num_figures = int(rng.integers(2, 5))
    chosen = chosen_ways(rng, num_seconds, num_figures)
    ways = chosen if ways is None else ways
    scene = random_scene(rng, num_figures, (side, side))
    dials = dials_over_time(rng, ways)
    # pixels (N, 2) of the places: quarters of the frame, of which a figure uses what it needs
    quarters = np.stack(np.divmod(rng.permutation(4)[:num_figures], 2), axis=1)
    slack = side / 4 - _room() / 2
    places = side / 4 * (2 * quarters + 1) + rng.uniform(-slack, slack, size=quarters.shape)
    centres = places + _PATH * (dials[..., :2] - 0.5)
    light = np.broadcast_to(rng.uniform(size=(num_figures, 1)), (*dials.shape[:2], 1))
    seen = np.concatenate([centres / side, dials[..., 2:], light], axis=2)
    frames = np.stack([scene.frame(settings) for settings in seen])
    # the middle of pixel 0 is at 0.5
    middle, half = centres[::FPS] + 0.5, reach(dials[::FPS, :, 3:4])
    boxes = np.concatenate([middle - half, middle + half], axis=2) / side
    return FigureVideo(frames, ways, boxes)


def _room() -> float:
    """Pixels along each side that a figure needs."""
    return _PATH + 2 * reach(1.0) + 1


def actions_of(ways: np.ndarray) -> list[int]:
    """Ids, from 1 on in the order of `ACTIONS`, of what the dials (4,) do."""
    done = ((ways[TURNED.index(dial)], way) for dial, way in ACTIONS.values())
    return [number for number, (is_way, way) in enumerate(done, start=1) if is_way == way]


def shaken(rng: np.random.Generator, boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) as a detector would find them: their IoU with these is 0.64 or more."""
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return (boxes + rng.uniform(-_SHAKE, _SHAKE, size=boxes.shape) * sizes).clip(0, 1)


def false_boxes(rng: np.random.Generator, boxes: np.ndarray, side: int) -> np.ndarray:
    """None or one box (1, 4) that covers none of ``boxes`` (N, 4), of a size that figures have."""
    half = reach(rng.uniform()) / side
    centre = rng.uniform(half, 1 - half, size=2)
    box = np.concatenate([centre - half, centre + half])[None]
    covers = box_iou(*(torch.from_numpy(each) for each in (box, boxes))).max() > 0.2
    return box[: int(rng.uniform() < _FALSE_SHARE and not covers)]


def annotation_rows(video: str, drawn: FigureVideo) -> Iterator[str]:
    """Lines of AVA's file of actions; neither the first second nor the last is a key frame."""
    for second in range(1, len(drawn.ways) - 1):
        for person, (box, ways) in enumerate(zip(drawn.boxes[second], drawn.ways[second])):
            for action in actions_of(ways):
                yield f"{_place(video, second, box)},{action},{person}"


def proposal_rows(
    rng: np.random.Generator, video: str, drawn: FigureVideo, with_actions: bool
) -> Iterator[str]:
    """Lines of AVA's file of found boxes.

    Args:
        with_actions: as in those for training, of the figure that is covered: without, a box is of
            somebody who does nothing.
    """
    for second in range(1, len(drawn.ways) - 1):
        boxes, ways = drawn.boxes[second], drawn.ways[second]
        for box, done in zip(shaken(rng, boxes), ways):
            score = rng.uniform(MIN_SCORE, 1.0)
            for action in actions_of(done) if with_actions else [""]:
                yield f"{_place(video, second, box)},{action},{score:.4f}"
        for box in false_boxes(rng, boxes, drawn.frames.shape[1]):
            yield f"{_place(video, second, box)},,{rng.uniform(*_FALSE_SCORES):.4f}"


def _place(video: str, second: int, box: np.ndarray) -> str:
    return ",".join([video, f"{second:04d}", *(f"{value:.4f}" for value in box)])


def generate_moving_figures(
    folder: str | os.PathLike,
    num_videos: int,
    seed: int | tuple[int, ...] = 0,
    num_seconds: int = 9,
    side: int = 128,
    with_actions: bool = True,
) -> None:
    """Write ``folder/videos``, ``actions.csv``, ``proposals.csv`` and ``label_map.pbtxt``.

    Args:
        num_seconds: of each video; all whole seconds but the first and the last are key frames.
        side: height and width of the videos, in pixels.
        with_actions: see `proposal_rows`.
    """
    if num_videos < 1 or num_seconds < 2 or side < 2 * _room():
        raise UserError(
            f"Cannot draw {num_videos} videos of num_seconds={num_seconds} and side={side}: at least "
            f"1 video, 2 seconds and {2 * _room():.0f} pixels are needed."
        )
    folder = Path(folder)
    (folder / "videos").mkdir(parents=True)
    actions, proposals = [], []
    for index, rng in numbered_rngs(folder, num_videos, seed, "video"):
        name, drawn = f"{index:05d}", draw_video(rng, num_seconds, side)
        write_clip(folder / "videos" / f"{name}.mp4", drawn.frames, FPS)
        actions += annotation_rows(name, drawn)
        proposals += proposal_rows(rng, name, drawn, with_actions)
    items = [
        f'item {{\n  name: "{name}"\n  id: {number}\n}}' for number, name in enumerate(ACTIONS, 1)
    ]
    files = {"actions.csv": actions, "proposals.csv": proposals, "label_map.pbtxt": items}
    for file, lines in files.items():
        (folder / file).write_text("".join(f"{line}\n" for line in lines))


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
    """The key frames as an `action_clips` data set, for a ``dataset=L(moving_figures)(...)`` node.

    In training boxes are those annotated and those found, in testing only the latter, as on AVA.

    Args:
        split: "train" or "val". Both are drawn at the first call (half a minute) and read from the
            datasets folder afterwards.
        num_train, num_val: videos of each.
        num_seconds: of each video; it has one key frame less.
        side: height and width of the videos, in pixels.
        name, num_classes: as for `action_clips`.
    """

    def draw(folder: Path, count: int, seeds: tuple[int, int]) -> None:
        with_actions = folder.name == "train"
        generate_moving_figures(folder, count, seeds, num_seconds, side, with_actions)

    drawn = dict(version=_VERSION, counts=(num_train, num_val), seed=seed, draw=draw)
    folder = generated_split(split, "moving_figures", f"{num_seconds}s-{side}px", **drawn)
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
