"""Golden numbers of augmentation: what PySlowFast makes of a clip, seed by seed.

    python tests/golden/make_clip_transforms.py PATH_OF_A_CLONE_OF_SLOWFAST

writes ``clip_transforms.npz`` beside this script:

- ``train_CROP``: the augmented clip of 24 seeds, averaged over cells of 8 x 8 pixels; no flips:
  PySlowFast draws for an option of its crop that is off, and hence draws another flip.
- ``test_CROPS_SHORTSIDE_WxH``: the same of the test transforms, for clips of several shapes.

Tests import the functions of the first half; the second half is the generator.
"""

import random
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn.functional import avg_pool2d
from torchvision.transforms import ToPILImage, ToTensor

GOLDEN = Path(__file__).resolve().parent / "clip_transforms.npz"
SEEDS = 24
FRAMES = 3
SIZE = 48
JITTER = (54, 70)
RAND_AUGMENT = "rand-m7-n4-mstd0.5-inc1"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRAIN_SHAPE = (85, 64)  # width, height
SHAPES = ((85, 64), (64, 85), (56, 56), (101, 77), (30, 20), (33, 200))  # width, height
PROTOCOLS = ((1, 54), (3, 48), (3, 60))  # crops, short side


def clip(width: int, height: int) -> np.ndarray:
    """Frames (T, H, W, 3) with edges and ramps that move, the same on every machine."""
    t, y, x = np.mgrid[:FRAMES, :height, :width]
    channels = ((x + 9 * t) * 255 // (width + 27), ((x + 3 * t) // 9 + y // 7) % 2 * 200 + 20)
    return np.stack([*channels, (y + 5 * t) * 255 // (height + 15)], axis=-1).astype(np.uint8)


def seeded(seed: int) -> None:
    """All generators that augmentation draws from."""
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)


def cells(clips: torch.Tensor) -> np.ndarray:
    """A tensor (..., T, H, W), made small enough to be stored."""
    return avg_pool2d(clips.flatten(0, -3), 8).unflatten(0, clips.shape[:-2]).numpy()


# -------------------------------------------------------------------------------------- generator


def _old_posterize(image: Image.Image, bits: int) -> Image.Image:
    """As Pillow was before version 12, which refuses 0 bits."""
    return ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)


def _planes(frames: torch.Tensor) -> torch.Tensor:
    """Of values in 0..1 (T, 3, H, W) the normalised (3, T, H, W)."""
    return (
        (frames - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    ).permute(1, 0, 2, 3)


def main(clone: str) -> None:
    """Run the released transforms in the order of the released loaders."""
    # Without the package's own __init__, which needs libraries that transforms do not.
    package = sys.modules["released"] = ModuleType("released")
    package.__path__ = [str(Path(clone) / "slowfast" / "datasets")]
    transform = import_module("released.transform")
    old = {name: getattr(ImageOps, name) for name in dir(ImageOps)} | {"posterize": _old_posterize}
    import_module("released.rand_augment").ImageOps = SimpleNamespace(**old)
    # Normal noise is drawn in another order by timm.
    erase = import_module("released.random_erasing").RandomErasing(0.5, mode="const", device="cpu")

    golden = {}
    width, height = TRAIN_SHAPE
    frames = torch.from_numpy(clip(width, height)).permute(0, 3, 1, 2).float() / 255
    for crop in ("inception", "short_side_jitter"):
        clips = []
        for seed in range(SEEDS):
            seeded(seed)
            augment = transform.create_random_augment((height, width), RAND_AUGMENT, "bicubic")
            pictures = augment([ToPILImage()(frame) for frame in frames])
            planes = _planes(torch.stack([ToTensor()(picture) for picture in pictures]))
            if crop == "inception":
                planes = transform.random_resized_crop(
                    planes, SIZE, SIZE, scale=(0.08, 1.0), ratio=(0.75, 1.3333)
                )
            else:
                planes, _ = transform.random_short_side_scale_jitter(
                    planes, *JITTER, inverse_uniform_sampling=True
                )
                planes, _ = transform.random_crop(planes, SIZE)
            clips.append(cells(erase(planes.permute(1, 0, 2, 3)).permute(1, 0, 2, 3)))
        golden[f"train_{crop}"] = np.stack(clips)
    for width, height in SHAPES:
        planes = _planes(torch.from_numpy(clip(width, height)).permute(0, 3, 1, 2).float() / 255)
        for crops, short_side in PROTOCOLS:
            whole, _ = transform.random_short_side_scale_jitter(planes, short_side, short_side)
            places = range(3) if crops == 3 else [1]
            views = [transform.uniform_crop(whole, SIZE, place)[0] for place in places]
            golden[f"test_{crops}_{short_side}_{width}x{height}"] = cells(torch.stack(views))
    np.savez_compressed(GOLDEN, **golden)


if __name__ == "__main__":
    main(sys.argv[1])
