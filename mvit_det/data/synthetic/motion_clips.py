"""Generated clips whose classes only motion tells apart: what the video quickstart trains on.

Coloured shapes lie on a still ground. Five dials, each a circle, say how a shape looks in a frame:
its column and row (what leaves the picture on one side comes in on the other), its angle, its size
and its brightness (which jump back to the smallest, or the darkest, behind the largest). In every
clip one dial of all shapes turns, at a constant speed of each shape's own, and the others rest: ten
classes, five dials in two directions.

Nothing but motion tells the classes apart, by construction:

* The dials start anywhere, evenly. A circle that is turned by any amount stays evenly filled, so in
  every frame, the first and the last as well, the look of the shapes has one and the same
  distribution for all classes.
* A clip played backwards is one of the opposite class: the two have the same sets of frames, and
  only their order tells them apart.
* Frames are encoded without reference to each other and with a fixed quantiser, so that what
  compression does to a frame does not depend on its neighbours.

Every clip is drawn from (seed, split, index) alone.
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
from mvit_det.data.synthetic.folders import generated_split, numbered_rngs
from mvit_det.data.synthetic.shapes import CLASSES as SHAPES
from mvit_det.data.synthetic.shapes import outline, painted_ground, painted_shape
from mvit_det.data.video.datasets import VideoClasses, video_classes
from mvit_det.errors import UserError

DIALS = ("column", "row", "angle", "size", "brightness")
# class -> the dial that turns, and which way
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

# Written into the cache folder's name: raise it whenever the drawing or the encoding changes.
_VERSION = 1
# Of the dial, in turns per frame: 9 to 20 degrees in 4 frames, from one that a model sees to the next,
# where a square looks the same after 90; and 0.17 to 0.4 turns in the 29 frames between 8 of these.
_SPEEDS = (0.006, 0.014)
_GROUND_CONTRAST = 0.3  # of the grounds that detection has
_DIAMETERS = (18, 40)  # of shapes, in pixels
_WINDOW = 44  # side of the square that a shape is drawn in
_DARKEST = 0.35  # brightness factor of a shape
_SPRITE = 64  # side of the picture that a shape is painted into, before it is made smaller
_SPRITE_MARGIN = 2  # pixels around it there
_QUANTISER = 5  # of MPEG-4: 1 is best, 31 worst


@dataclass(frozen=True)
class Scene:
    """What stays the same in a clip.

    Attributes:
        ground: RGB (H, W, 3), 0 to 255, as floats.
        sprites: the painted shapes (side, side, 4) around their centres, the hindmost first: RGB
            times cover, and cover.
    """

    ground: np.ndarray
    sprites: Sequence[np.ndarray]

    def frame(self, dials: np.ndarray) -> np.ndarray:
        """RGB bytes (H, W, 3); ``dials`` in turns (shapes, 5), in the order of `DIALS`."""
        image = self.ground
        for sprite, settings in zip(self.sprites, np.mod(dials, 1.0)):
            image = _with_shape(image, sprite, settings)
        return image.clip(0, 255).astype(np.uint8)


def reach(size: np.ndarray | float) -> np.ndarray | float:
    """Pixels from its centre that a shape reaches at most, by the setting of its size dial."""
    return _side(size) * (0.5 - _SPRITE_MARGIN / _SPRITE)


def _side(size: np.ndarray | float) -> np.ndarray | float:
    smallest, largest = _DIAMETERS
    return smallest * (largest / smallest) ** size


def _with_shape(image: np.ndarray, sprite: np.ndarray, dials: np.ndarray) -> np.ndarray:
    """The image with a shape in front."""
    column, row, angle, size, brightness = dials
    height, width = image.shape[:2]
    scale = _side(size) / len(sprite)
    cosine, sine = (scale * f(2 * math.pi * angle) for f in (math.cos, math.sin))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    half = _WINDOW // 2
    (down, y), (across, x) = divmod(row * height, 1.0), divmod(column * width, 1.0)
    shift = np.array([half + x, half + y]) - turn @ np.full(2, (len(sprite) - 1) / 2)
    drawn = cv2.warpAffine(sprite, np.column_stack([turn, shift]), (_WINDOW, _WINDOW))
    light = _DARKEST + (1 - _DARKEST) * brightness
    # Rolled by whole pixels until the place is in the corner and in one piece, and back again.
    rolls = np.array([half - int(down), half - int(across)])
    image = np.roll(image, rolls, axis=(0, 1))
    window = image[:_WINDOW, :_WINDOW]
    window *= 1 - cv2.cvtColor(drawn[..., 3], cv2.COLOR_GRAY2RGB)
    window += light * cv2.cvtColor(drawn, cv2.COLOR_RGBA2RGB)
    return np.roll(image, -rolls, axis=(0, 1))


def random_scene(rng: np.random.Generator, num_shapes: int, size: tuple[int, int]) -> Scene:
    """Shapes and a ground of any kind and colour; ``size`` is (H, W)."""
    ground = painted_ground(rng, max(size))[: size[0], : size[1]]
    tone = ground.mean(axis=(0, 1))
    ground = tone + _GROUND_CONTRAST * (ground - tone)
    ground += rng.normal(scale=1.0, size=ground.shape)
    sprites = [_sprite(rng) for _ in range(num_shapes)]
    return Scene(ground.astype(np.float32), sprites)


def _sprite(rng: np.random.Generator) -> np.ndarray:
    kind = SHAPES[rng.integers(len(SHAPES))]
    middle, radius = (_SPRITE - 1) / 2, _SPRITE / 2 - _SPRITE_MARGIN
    fill, cover = painted_shape(rng, _SPRITE, middle + radius * outline(kind, 0.0))
    # A black dot beside its centre: without one a turning circle would stand still.
    dot = np.round([middle + 0.5 * radius, middle]).astype(int).tolist()
    cv2.circle(fill, dot, round(0.19 * radius), (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
    return np.concatenate([fill * cover, cover], axis=2).astype(np.float32)


def turning_dials(
    rng: np.random.Generator, motion: str, num_frames: int, num_shapes: int
) -> np.ndarray:
    """The dials (T, shapes, 5) of a clip; draws the same numbers whatever the motion."""
    dial, direction = MOTIONS[motion]
    dials = np.repeat(rng.uniform(size=(1, num_shapes, len(DIALS))), num_frames, axis=0)
    speeds = direction * rng.uniform(*_SPEEDS, size=num_shapes)
    # Counted from the middle, so that the opposite motion of the same seed is this one backwards.
    times = np.arange(num_frames) - (num_frames - 1) / 2
    dials[..., DIALS.index(dial)] += np.outer(times, speeds)
    return np.mod(dials, 1.0)


def draw_clip(
    rng: np.random.Generator, motion: str, num_frames: int, size: tuple[int, int], num_shapes: int
) -> np.ndarray:
    """One clip as RGB bytes (T, H, W, 3)."""
    scene = random_scene(rng, num_shapes, size)
    dials = turning_dials(rng, motion, num_frames, num_shapes)
    return np.stack([scene.frame(settings) for settings in dials])


def write_clip(path: str | os.PathLike, frames: np.ndarray, fps: int = FPS) -> None:
    """Write RGB bytes (T, H, W, 3) as an MPEG-4 video that consists of key frames alone."""
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
    """Write ``num_clips`` videos into class folders below ``folder``, the classes in turn."""
    if num_clips < len(MOTIONS) or num_frames < 2 or num_shapes < 1 or min(size) < _WINDOW:
        raise UserError(
            f"Cannot draw {num_clips} clips of num_frames={num_frames}, size={tuple(size)} and "
            f"num_shapes={num_shapes}: at least {len(MOTIONS)} clips of 2 frames with a shape are "
            f"needed, and {_WINDOW} pixels a side."
        )
    folder = Path(folder)
    for motion in MOTIONS:
        (folder / motion).mkdir(parents=True)
    for index, rng in numbered_rngs(folder, num_clips, seed, "clip"):
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
    """The clips as a `video_classes` data set, for a ``dataset=L(motion_clips)(...)`` node.

    Args:
        split: "train" or "val". Both are drawn at the first call (half a minute) and read from the
            datasets folder afterwards.
        num_train, num_val: clips of each, shared evenly by the ten classes.
        num_frames: of a clip, at 30 per second.
        size: height and width in pixels.
        num_shapes: in each clip.
        name, num_classes, clips: as for `video_classes`.
    """
    height, width = size

    def draw(folder: Path, count: int, seeds: tuple[int, int]) -> None:
        generate_motion_clips(folder, count, seeds, num_frames, (height, width), num_shapes)

    settings = f"{num_frames}x{height}x{width}-{num_shapes}shapes"
    drawn = dict(version=_VERSION, counts=(num_train, num_val), seed=seed, draw=draw)
    folder = generated_split(split, "motion_clips", settings, **drawn)
    return video_classes(folder, name=name, num_classes=num_classes, clips=clips)
