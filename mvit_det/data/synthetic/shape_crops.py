"""Generated shapes for classification, to pre-train the quickstart's backbone.

Pictures are drawn as for detection, from other seeds, and their shapes are cropped: one class per
kind of shape, and one of background.
"""

import tempfile
from pathlib import Path

from mvit_det.data.classification.datasets import ImageClasses, image_classes
from mvit_det.data.custom.categories import class_source, numbered
from mvit_det.data.detection.crops import BACKGROUND, crop_objects
from mvit_det.data.synthetic.folders import split_folder
from mvit_det.data.synthetic.shapes import CLASSES, generate_shapes
from mvit_det.errors import check_count

# Part of the cache folder's name: increase it whenever the drawing or the cropping changes.
_VERSION = 1
# Margin around a shape on each side, as a share of its size.
_MARGIN = 0.15


@class_source(lambda node: numbered(sorted([*CLASSES, BACKGROUND])))  # folders, in their order
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
    """Load the crops as an `image_classes` data set, for a ``dataset=L(shape_classes)(...)`` node.

    Args:
        split: "train" or "val". Both are drawn at the first call (half a minute) and read from the
            datasets folder afterwards.
        num_train: training pictures to take crops from, about four each.
        num_val: validation pictures to take crops from.
        image_size: side of these pictures in pixels.
        crop_size: side of a crop in pixels.
        seed: of the drawing. The quickstart's detection pictures have seed 0; with another seed, no
            picture is common to both.
        object_size: smallest and largest diameter of a shape in pixels.
        name: as for `image_classes`.
        num_classes: as for `image_classes`.

    Raises:
        UserError: an argument is out of its range, or the datasets folder is not writable.
    """
    check_count("shape_classes", crop_size=crop_size)
    low, high = object_size

    def draw(folder: Path, count: int, seeds: tuple[int, int]) -> None:
        with tempfile.TemporaryDirectory(prefix=".pictures-", dir=folder.parent) as pictures:
            drawn = Path(pictures) / folder.name
            generate_shapes(drawn, count, seeds, image_size, object_size=(low, high))
            places = drawn / "annotations.json", drawn / "images", folder
            crop_objects(*places, margin=_MARGIN, size=crop_size, seed=seed)

    settings = f"{image_size}px-{low}to{high}-crop{crop_size}"
    counts = num_train, num_val
    folder = split_folder(split, "shape_classes", settings, draw, counts, seed, _VERSION)
    return image_classes(folder, name=name, num_classes=num_classes)
