"""Golden numbers of action detection's clips: what PySlowFast makes of a key frame and its boxes.

    PYTHONPATH=tests python tests/golden/make_action_clips.py PATH_OF_A_CLONE_OF_SLOWFAST

(needs OpenCV and what that package needs) writes ``action_clips.npz`` beside this script:

- ``frames_TxTAU_N``: of a video of N frames at 30 fps, a row of frame indices per ``TIMES`` entry.
- ``train_WxH``, ``val_WxH``, ``test_WxH``: per frame shape, the last frame of a clip as the loader
  gives it, pixel values 0..255 (of training for several seeds), and ``..._boxes`` in its pixels.

Tests import the functions of the first half; the second half is the generator.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from golden.make_clip_transforms import clip, seeded

GOLDEN = Path(__file__).resolve().parent / "action_clips.npz"
SEEDS = 6
SIZE = 48
JITTER = (54, 70)
SHAPES = ((85, 64), (64, 85), (56, 56), (48, 48), (48, 85), (30, 20), (33, 120))  # width, height
CLIPS = ((16, 4), (32, 3), (40, 3), (5, 3), (8, 1))  # T, tau
VIDEOS = (27030, 100)  # frames
TIMES = (0.0, 1.0, 2.0, 3.0, 450.0, 899.0, 900.0, 901.0)  # seconds of key frames


def boxes() -> np.ndarray:
    """Boxes (N, 4) as fractions of a frame: whole, at all edges, in corners, small, empty."""
    edges = [[0, 0, 1, 1], [0, 0.2, 0.3, 1], [0.7, 0, 1, 0.4], [0.5, 0.5, 0.5, 0.5]]
    drawn = np.sort(np.random.default_rng(0).random((12, 2, 2)), axis=1).reshape(12, 4)
    return np.concatenate([edges, drawn.round(3)])


# -------------------------------------------------------------------------------------- generator


class _Loader:
    """The released loader of AVA with settings instead of files."""

    def __init__(self, ava, split: str):
        self.loader = object.__new__(ava)
        settings = dict(
            _split=split,
            _crop_size=SIZE,
            _jitter_min_scale=JITTER[0],
            _jitter_max_scale=JITTER[1],
            random_horizontal_flip=True,
            _use_color_augmentation=False,
            _test_force_flip=False,
            _data_mean=[0.0] * 3,
            _data_std=[1.0] * 3,
            _use_bgr=False,
        )
        vars(self.loader).update(settings)

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The last frame (3, h, w), uint8 as it was resized, and the boxes (N, 4)."""
        bgr = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
        pixels, placed = self.loader._images_and_boxes_preprocessing_cv2(bgr, boxes())
        return (pixels[:, -1].numpy() * 255).round().astype(np.uint8), placed


def main(clone: str) -> None:
    """Run the released loader and its sampling."""
    sys.path.insert(0, clone)
    # Without the package's own __init__, which needs libraries that this loader does not.
    package = sys.modules["released"] = ModuleType("released")
    package.__path__ = [str(Path(clone) / "slowfast" / "datasets")]
    ava = import_module("released.ava_dataset").Ava
    get_sequence = import_module("released.utils").get_sequence

    golden = {}
    for frames, rate in CLIPS:
        for count in VIDEOS:
            rows = [get_sequence(int(time * 30), frames * rate // 2, rate, count) for time in TIMES]
            golden[f"frames_{frames}x{rate}_{count}"] = np.array(rows, dtype=np.int32)
    for width, height in SHAPES:
        shape = f"{width}x{height}"
        made = []
        for seed in range(SEEDS):
            seeded(seed)
            made.append(_Loader(ava, "train")(clip(width, height)))
        golden[f"train_{shape}"] = np.stack([pixels for pixels, _ in made])
        golden[f"train_{shape}_boxes"] = np.stack([placed for _, placed in made])
        for split in ("val", "test"):
            pixels, placed = _Loader(ava, split)(clip(width, height))
            golden[f"{split}_{shape}"], golden[f"{split}_{shape}_boxes"] = pixels, placed
    np.savez_compressed(GOLDEN, **golden)


if __name__ == "__main__":
    main(sys.argv[1])
