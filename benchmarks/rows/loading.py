"""Training data of detection: our loader, and Detectron2's with its mapper, on drawn photographs.

Both have the augmentations of mask_rcnn_mvitv2_t_3x, whose order differs, since ours are seeded by
the position of the sample. Each run starts as many loading processes as there are threads.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rows import Options, Row

# Enough batches that those which are loaded ahead, and not counted, are few.
IMAGES, BATCHES, BATCH, OBJECTS = 64, 48, 8, 7


def rows() -> Iterator[Row]:
    """Yield the row."""
    what = f"training data of detection, {BATCHES * BATCH} images of 640 x 480 with masks"
    yield Row(
        "loading", what, "Detectron2", "detectron2", _build, precisions=False, prepare=_prepare
    )


def _prepare(options: Options) -> None:
    """Write JPEG files: clouds with noise, which compress like photographs."""
    import cv2

    rng = np.random.default_rng(0)
    for number in range(8 if options.quick else IMAGES):
        coarse = rng.integers(0, 256, (12, 16, 3)).astype(np.float32)
        cloud = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        picture = (cloud + rng.normal(0, 12, cloud.shape)).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(Path(options.folder) / f"{number}.jpg"), picture)


def _items(folder: Path) -> list[dict[str, Any]]:
    """Make the dataset dicts, each with ellipses of 24 corners as masks."""
    from detectron2.structures import BoxMode

    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    items = []
    for path in sorted(folder.glob("*.jpg")):
        half = rng.uniform(10, 100, (OBJECTS, 2))
        centre = half + rng.random((OBJECTS, 2)) * ([640, 480] - 2 * half)
        annotations = [
            dict(
                bbox=[*(c - h), *(c + h)],
                bbox_mode=BoxMode.XYXY_ABS,
                segmentation=[(c + h * circle).ravel().tolist()],
                category_id=int(rng.integers(80)),
                iscrowd=0,
            )
            for c, h in zip(centre, half)
        ]
        size = dict(height=480, width=640)
        items.append(
            dict(file_name=str(path), image_id=len(items), **size, annotations=annotations)
        )
    return items


def _build(side: str, options: Options) -> Callable[[], None]:
    import mvit_det

    # isort: split
    from detectron2.config import instantiate
    from detectron2.data import DatasetMapper

    mapper = mvit_det.get_config("mask_rcnn_mvitv2_t_3x").dataloader.train.mapper
    mapper["use_instance_mask"] = True  # it names the model's
    arguments: dict[str, Any] = dict(total_batch_size=BATCH, num_workers=options.threads)
    items = _items(Path(options.folder))
    if side == "ours":
        from mvit_det.data import build_train_loader

        loader = build_train_loader(items, mapper=instantiate(mapper), seed=0, **arguments)
    else:
        from detectron2.data import build_detection_train_loader

        mapper["_target_"] = DatasetMapper
        loader = build_detection_train_loader(items, mapper=instantiate(mapper), **arguments)
    batches = 2 if options.quick else BATCHES

    def run() -> None:
        for batch in islice(iter(loader), batches):
            assert len(batch) == BATCH

    return run
