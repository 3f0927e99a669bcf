"""Generated clips whose classes differ only in motion, for the video quickstart.

Coloured shapes lie on a static background. Five cyclic parameters ("dials", in turns) define how a
shape looks in a frame: its column and row (a shape that leaves the picture on one side enters on
the other), its angle, its size and its brightness (which jump from the largest value back to the
smallest). In every clip one dial of all shapes turns, at a constant speed per shape, and the others
rest: ten classes, five dials in two directions.

By construction, classes can be recognised only by motion:

* The dials start at uniformly random values, and a uniform distribution on a circle does not change
  when it is rotated. So in every frame, including the first and the last, the appearance of shapes
  has the same distribution for all classes.
* A clip played backwards belongs to the opposite class: both have the same set of frames, and
  differ only in their order.
* Frames are encoded independently and with a fixed quantiser, so that compression of a frame does
  not depend on its neighbours.

Every clip depends only on (seed, split, index).
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from mvit_det.data.custom.categories import class_source, numbered
from mvit_det.data.synthetic.folders import item_rngs, split_folder
from mvit_det.data.synthetic.shapes import CLASSES as SHAPES
from mvit_det.data.synthetic.shapes import draw_background, draw_shape, outline
from mvit_det.data.video.datasets import VideoClasses, video_classes
from mvit_det.errors import UserError

DIALS = ("column", "row", "angle", "size", "brightness")
# class -> the dial that turns, and its direction
MOTIONS = {
    "anticlockwise": ("angle", -1),
    "brightens": ("brightness", 1),
    "clockwise": ("angle", 1),
    "darkens": ("brightness", -1),
    "down": ("row", 1),
    "grows": ("size", 1),
    "left": ("column", -1),
    "right": ("column", 1),
    "shrinks": ("size", -1),
    "up": ("row", -1),
}
FPS = 30

# Part of the cache folder's name: increase it whenever the drawing or the encoding changes.
_VERSION = 1
# Of the dial, in turns per frame: 9 to 20 degrees in the 4 frames between two that a model takes (a
# square looks the same after 90), and 0.17 to 0.4 turns in the 29 frames that 8 of these span.
_SPEEDS = (0.006, 0.014)
_BACKGROUND_CONTRAST = 0.3  # of the backgrounds of detection
_SIDES = (18, 40)  # of reduced sprites, in pixels, at the size dial's ends
_WINDOW = 44  # side of the square that a shape is drawn in
_DARKEST = 0.35  # brightness factor of a shape
_SPRITE = 64  # side of the picture that a shape is drawn into before it is reduced, in pixels
_SPRITE_MARGIN = 2  # around the shape there, in pixels
_QUANTISER = 5  # of MPEG-4: 1 is best, 31 worst


@dataclass(frozen=True)
class Scene:
    """Background and shapes of a clip, which do not change over time.

    Attributes:
        background: RGB float32 (H, W, 3), 0..255.
        sprites: of N shapes from back to front, float32 (side, side, 4) each: RGB (0..255) times
            coverage, and coverage (0..1).
    """

    background: np.ndarray
    sprites: Sequence[np.ndarray]

    def frame(self, dials: np.ndarray) -> np.ndarray:
        """Draw a frame, RGB uint8 (H, W, 3), from the dials (N, 5) of N shapes, in turns."""
        image = self.background
        for sprite, settings in zip(self.sprites, np.mod(dials, 1.0)):
            image = _draw_sprite(image, sprite, settings)
        return image.clip(0, 255).astype(np.uint8)


def radius(size: np.ndarray | float) -> np.ndarray | float:
    """Return the radius of a shape in pixels for a size dial of 0..1, elementwise."""
    return _sprite_side(size) * (0.5 - _SPRITE_MARGIN / _SPRITE)


def _sprite_side(size: np.ndarray | float) -> np.ndarray | float:
    smallest, largest = _SIDES
    return smallest * (largest / smallest) ** size


def _draw_sprite(image: np.ndarray, sprite: np.ndarray, dials: np.ndarray) -> np.ndarray:
    """Draw a shape over an image (H, W, 3) by its dials (5,) in 0..1."""
    column, row, angle, size, brightness = dials
    height, width = image.shape[:2]
    scale = _sprite_side(size) / len(sprite)
    cosine, sine = (scale * f(2 * math.pi * angle) for f in (math.cos, math.sin))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    half = _WINDOW // 2
    (down, y), (across, x) = divmod(row * height, 1.0), divmod(column * width, 1.0)
    shift = np.array([half + x, half + y]) - turn @ np.full(2, (len(sprite) - 1) / 2)
    drawn = cv2.warpAffine(sprite, np.column_stack([turn, shift]), (_WINDOW, _WINDOW))
    light = _DARKEST + (1 - _DARKEST) * brightness
    # Rolled by whole pixels so that the window is in the corner and in one piece, and back again.
    rolls = np.array([half - int(down), half - int(across)])
    image = np.roll(image, rolls, axis=(0, 1))
    window = image[:_WINDOW, :_WINDOW]
    window *= 1 - cv2.cvtColor(drawn[..., 3], cv2.COLOR_GRAY2RGB)
    window += light * cv2.cvtColor(drawn, cv2.COLOR_RGBA2RGB)
    return np.roll(image, -rolls, axis=(0, 1))


def random_scene(rng: np.random.Generator, num_shapes: int, size: tuple[int, int]) -> Scene:
    """Draw the background and the shapes of a clip of ``size`` (H, W) in pixels, at least 44."""
    background = draw_background(rng, max(size))[: size[0], : size[1]]
    tone = background.mean(axis=(0, 1))
    background = tone + _BACKGROUND_CONTRAST * (background - tone)
    background += rng.normal(scale=1.0, size=background.shape)
    sprites = [_random_sprite(rng) for _ in range(num_shapes)]
    return Scene(background.astype(np.float32), sprites)


def _random_sprite(rng: np.random.Generator) -> np.ndarray:
    kind = SHAPES[rng.integers(len(SHAPES))]
    middle, radius = (_SPRITE - 1) / 2, _SPRITE / 2 - _SPRITE_MARGIN
    fill, cover = draw_shape(rng, _SPRITE, middle + radius * outline(kind, 0.0))
    # A black dot off the centre, without which a turning circle would look static.
    dot = np.round([middle + 0.5 * radius, middle]).astype(int).tolist()
    cv2.circle(fill, dot, round(0.19 * radius), (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
    return np.concatenate([fill * cover, cover], axis=2).astype(np.float32)


def random_dials(
    rng: np.random.Generator, motion: str, num_frames: int, num_shapes: int
) -> np.ndarray:
    """Draw the dials of a clip.

    Args:
        rng: source of all random numbers, whose use does not depend on ``motion``.
        motion: a key of `MOTIONS`.
        num_frames: T.
        num_shapes: N.

    Returns:
        float64 (T, N, 5) in turns, 0..1, in the order of `DIALS`.
    """
    dial, direction = MOTIONS[motion]
    dials = np.repeat(rng.uniform(size=(1, num_shapes, len(DIALS))), num_frames, axis=0)
    speeds = direction * rng.uniform(*_SPEEDS, size=num_shapes)
    # From the middle on, so that the opposite motion with the same seed is this one backwards.
    times = np.arange(num_frames) - (num_frames - 1) / 2
    dials[..., DIALS.index(dial)] += np.outer(times, speeds)
    return np.mod(dials, 1.0)


def draw_clip(
    rng: np.random.Generator, motion: str, num_frames: int, size: tuple[int, int], num_shapes: int
) -> np.ndarray:
    """Draw a clip.

    Args:
        rng: source of all random numbers.
        motion: a key of `MOTIONS`.
        num_frames: T.
        size: (H, W) in pixels, at least 44 each.
        num_shapes: shapes in the clip.

    Returns:
        RGB uint8 (T, H, W, 3).
    """
    scene = random_scene(rng, num_shapes, size)
    dials = random_dials(rng, motion, num_frames, num_shapes)
    return np.stack([scene.frame(settings) for settings in dials])


def write_clip(path: str | os.PathLike, frames: np.ndarray, fps: int = FPS) -> None:
    """Write RGB uint8 (T, H, W, 3) as an MPEG-4 video of key frames only."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 1
        stream.codec_context.qmin = stream.codec_context.qmax = _QUANTISER
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def generate_motion_clips(
    folder: str | os.PathLike,
    num_clips: int,
    seed: int | tuple[int, ...] = 0,
    num_frames: int = 48,
    size: tuple[int, int] = (64, 80),
    num_shapes: int = 4,
) -> None:
    """Write videos into class folders below ``folder``, the classes in turn.

    Args:
        folder: to write to.
        num_clips: number of videos of all classes together, at least 10.
        seed: one or several integers.
        num_frames: frames per clip, at least 2, at 30 per second.
        size: (height, width) in pixels, at least 44 each.
        num_shapes: shapes per clip, at least 1.

    Raises:
        UserError: an argument is out of its range.
    """
    if num_clips < len(MOTIONS) or num_frames < 2 or num_shapes < 1 or min(size) < _WINDOW:
        raise UserError(
            f"Cannot draw {num_clips} clips of num_frames={num_frames}, size={tuple(size)} and "
            f"num_shapes={num_shapes}: at least {len(MOTIONS)} clips of 2 frames with a shape are "
            f"needed, and {_WINDOW} pixels a side."
        )
    folder = Path(folder)
    for motion in MOTIONS:
        (folder / motion).mkdir(parents=True)
    for index, rng in item_rngs(folder, num_clips, seed, "clip"):
        motion = list(MOTIONS)[index % len(MOTIONS)]
        frames = draw_clip(rng, motion, num_frames, size, num_shapes)
        write_clip(folder / motion / f"{index:05d}.mp4", frames)


@class_source(lambda node: numbered(sorted(MOTIONS)))
def motion_clips(
    split: str,
    num_train: int = 1500,
    num_val: int = 200,
    num_frames: int = 48,
    size: tuple[int, int] = (64, 80),
    num_shapes: int = 4,
    seed: int = 0,
    *,
    name: str | None = None,
    num_classes: int | None = None,
    clips: int = 1,
) -> VideoClasses:
    """Load the clips as a `video_classes` data set, for a ``dataset=L(motion_clips)(...)`` node.

    Args:
        split: "train" or "val". Both are drawn at the first call (half a minute) and read from the
            datasets folder afterwards.
        num_train: clips of the training split, shared evenly by the ten classes.
        num_val: clips of the validation split.
        num_frames: frames per clip, at 30 per second.
        size: (height, width) in pixels.
        num_shapes: shapes per clip.
        seed: of the drawing.
        name: as for `video_classes`.
        num_classes: as for `video_classes`.
        clips: as for `video_classes`.

    Raises:
        UserError: an argument is out of its range, or the datasets folder is not writable.
    """
    height, width = size

    def draw(folder: Path, count: int, seeds: tuple[int, int]) -> None:
        generate_motion_clips(folder, count, seeds, num_frames, (height, width), num_shapes)

    settings = f"{num_frames}x{height}x{width}-{num_shapes}shapes"
    counts = num_train, num_val
    folder = split_folder(split, "motion_clips", settings, draw, counts, seed, _VERSION)
    return video_classes(folder, name=name, num_classes=num_classes, clips=clips)
