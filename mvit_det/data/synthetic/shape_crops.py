"""Generated shapes for classification: what the quickstart's backbone is pre-trained on.

Pictures are drawn as for detection, from other seeds, and their shapes cut out: one class per kind
of shape, and one of places without any.
"""

import tempfile
from pathlib import Path

from mvit_det.data.classification.datasets import ImageClasses, image_classes
from mvit_det.data.custom.categories import class_source, numbered
from mvit_det.data.detection.crops import BACKGROUND, crop_objects
from mvit_det.data.synthetic.folders import generated_split
from mvit_det.data.synthetic.shapes import CLASSES, generate_shapes
from mvit_det.errors import check_count

# Written into the cache folder's name: raise it whenever the drawing or the cutting changes.
_VERSION = 1
# Share of a shape's size that is left around it on each side.
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
    check_count("shape_classes", crop_size=crop_size)
    low, high = object_size

    def draw(folder: Path, count: int, seeds: tuple[int, int]) -> None:
        with tempfile.TemporaryDirectory(prefix=".pictures-", dir=folder.parent) as pictures:
            drawn = Path(pictures) / folder.name
            generate_shapes(drawn, count, seeds, image_size, object_size=(low, high))
            places = drawn / "annotations.json", drawn / "images", folder
            crop_objects(*places, margin=_MARGIN, size=crop_size, seed=seed)

    settings = f"{image_size}px-{low}to{high}-crop{crop_size}"
    drawn = dict(version=_VERSION, counts=(num_train, num_val), seed=seed, draw=draw)
    folder = generated_split(split, "shape_classes", settings, **drawn)
    return image_classes(folder, name=name, num_classes=num_classes)
