"""Generated shapes for classification: what the quickstart's backbone is pre-trained on.

Pictures are drawn as for detection, from other seeds, and their shapes cut out: one class per kind
of shape, and one of places without any.
"""

import tempfile
from pathlib import Path

from mvit_det.data.classification.datasets import ImageClasses, image_classes
from mvit_det.data.detection.crops import crop_objects
from mvit_det.data.synthetic.folders import SPLITS, generated_folder
from mvit_det.data.synthetic.shapes import generate_shapes
from mvit_det.errors import check_choice, check_count

# Written into the cache folder's name: raise it whenever the drawing or the cutting changes.
_VERSION = 1
# Share of a shape's size that is left around it on each side.
_MARGIN = 0.15


def shape_classes_folder(
    num_train: int,
    num_val: int,
    image_size: int,
    crop_size: int,
    seed: int,
    object_size: tuple[float, float],
) -> Path:
    """The folder of such a data set (`generated_folder`), with class folders in that of each split."""
    low, high = object_size
    name = (
        f"v{_VERSION}-{num_train}+{num_val}-{image_size}px-{low}to{high}-crop{crop_size}-seed{seed}"
    )

    def draw(folder: Path, count: int, seeds: tuple[int, int]) -> None:
        with tempfile.TemporaryDirectory(prefix=".pictures-", dir=folder.parent) as pictures:
            drawn = Path(pictures) / folder.name
            generate_shapes(drawn, count, seeds, image_size, object_size=object_size)
            crop_objects(
                drawn / "annotations.json",
                drawn / "images",
                folder,
                margin=_MARGIN,
                size=crop_size,
                seed=seed,
            )

    counts = (num_train, num_val)
    return generated_folder(f"shape_classes/{name}", "the generated shapes", counts, seed, draw)


def shape_classes(
    split: str,
    num_train: int = 2000,
    num_val: int = 250,
    image_size: int = 128,
    crop_size: int = 64,
    seed: int = 1,
    object_size: tuple[float, float] = (20, 64),
    *,
    name: str | None = None,
    num_classes: int | None = None,
) -> ImageClasses:
    """The crops as an `image_classes` data set, for a ``dataset=L(shape_classes)(...)`` node.

    Args:
        split: "train" or "val". Both are drawn at the first call (half a minute) and read from the
            datasets folder afterwards.
        num_train, num_val: pictures to cut the crops from, about four of each.
        image_size, object_size: of these pictures, as for `shapes_dataset`, in pixels.
        crop_size: side of a crop in pixels.
        seed: the quickstart's detection pictures are of seed 0. With another one no picture is
            common to both.
        name, num_classes: as for `image_classes`.
    """
    check_choice("shape_classes", SPLITS, split=split)
    check_count("shape_classes", crop_size=crop_size)
    sizes = tuple(object_size)
    folder = shape_classes_folder(num_train, num_val, image_size, crop_size, seed, sizes)
    return image_classes(folder / split, name=name, num_classes=num_classes)
