"""Golden numbers of augmentation: what facebookresearch/mvit makes of a picture, seed by seed.

    python tests/golden/make_image_transforms.py PATH_OF_A_CLONE_OF_MVIT

writes ``image_transforms.npz`` beside this script:

- ``train_HxW``: of 24 seeds the augmented picture, averaged over cells of 8 x 8 pixels.
- ``test_S_PROTOCOL_WxH``: the same of the test transforms, for pictures of several shapes.

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
from torchvision import transforms

GOLDEN = Path(__file__).resolve().parent / "image_transforms.npz"
SEEDS = 24
TRAIN_SIZES = ((64, 64), (48, 96))  # height, width
TEST_SIZES = (64, 72)
SHAPES = ((150, 100), (101, 150), (300, 60), (40, 30))  # width, height


def picture(width: int, height: int) -> Image.Image:
    """A picture with edges and a ramp, the same on every machine."""
    y, x = np.mgrid[:height, :width]
    channels = (x * 255 // width, (x // 9 + y // 7) % 2 * 200 + 20, y * 255 // height)
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def seeded(seed: int) -> None:
    """All generators that augmentation draws from."""
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)


def cells(image: torch.Tensor) -> np.ndarray:
    """A tensor (3, H, W), made small enough to be stored."""
    return avg_pool2d(image[None], 8)[0].numpy()


# -------------------------------------------------------------------------------------- generator


def _old_posterize(image: Image.Image, bits: int) -> Image.Image:
    """As Pillow was before version 12, which refuses 0 bits."""
    return ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)


def main(clone: str) -> None:
    """Run the released transforms."""
    # Without the package's own __init__, which needs libraries that transforms do not.
    package = sys.modules["released"] = ModuleType("released")
    package.__path__ = [str(Path(clone) / "mvit" / "datasets")]
    rand_augment = import_module("released.rand_augment")
    transform = import_module("released.transform")

    old = {name: getattr(ImageOps, name) for name in dir(ImageOps)} | {"posterize": _old_posterize}
    rand_augment.ImageOps = SimpleNamespace(**old)
    golden = {}
    for height, width in TRAIN_SIZES:
        augment = transform.transforms_imagenet_train(
            img_size=(height, width),
            color_jitter=0.4,
            auto_augment="rand-m9-n6-mstd0.5-inc1",
            interpolation="bicubic",
            re_prob=0.25,
            re_mode="pixel",
            re_count=1,
        )
        images = []
        for seed in range(SEEDS):
            seeded(seed)
            images.append(cells(augment(picture(150, 100))))
        golden[f"train_{height}x{width}"] = np.stack(images)
    # The released code builds its test transforms inside its data set, of these parts.
    for size in TEST_SIZES:
        straight = [transforms.Resize((size, size), interpolation=3)]
        short_side = transforms.Resize(int((1.0 / 0.875) * size), interpolation=3)
        parts = {"resize": straight, "center": [short_side, transforms.CenterCrop(size)]}
        normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        for protocol, steps in parts.items():
            whole = transforms.Compose([*steps, transforms.ToTensor(), normalise])
            for shape in SHAPES:
                key = f"test_{size}_{protocol}_{shape[0]}x{shape[1]}"
                golden[key] = cells(whole(picture(*shape)))
    np.savez_compressed(GOLDEN, **golden)


if __name__ == "__main__":
    main(sys.argv[1])
