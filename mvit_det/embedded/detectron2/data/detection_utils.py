"""Steps of a dataset mapper: read an image, transform annotations, make `Instances`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import TransformList
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask

from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from detectron2.structures.masks import polygons_to_bitmask
from detectron2.utils.file_io import PathManager


class SizeMismatchError(ValueError):
    """The size of an image differs from its annotation."""


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image file as (H, W, C) uint8, 0..255, turned upright by its EXIF orientation.

    ``format`` is "RGB", "BGR", "L" (gray, C = 1), another mode of Pillow, or None for the mode of
    the file, which may also be (H, W).
    """
    with PathManager.open(file_name, "rb") as file:
        image = ImageOps.exif_transpose(Image.open(file))
        if format is not None:
            image = image.convert("RGB" if format == "BGR" else format)
        pixels = np.asarray(image)
    if format == "BGR":
        return pixels[:, :, ::-1]
    return pixels[:, :, None] if format == "L" else pixels


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Compare the size of an image with "width" and "height" of the dict.

    If the dict has neither, both are set.

    Raises:
        SizeMismatchError: the sizes differ.
    """
    height, width = image.shape[:2]
    if "width" not in dataset_dict and "height" not in dataset_dict:
        dataset_dict.update(width=width, height=height)
    elif (dataset_dict["width"], dataset_dict["height"]) != (width, height):
        raise SizeMismatchError(
            f"Image {dataset_dict.get('file_name', '')} has width {width} and height {height}, "
            f"but width {dataset_dict['width']} and height {dataset_dict['height']} as annotated: "
            "correct width and height in the annotation file, or the file's EXIF orientation."
        )


def transform_instance_annotations(annotation, transforms, image_size) -> dict[str, Any]:
    """Transform the box and the segmentation of one instance, in place.

    The box becomes XYXY_ABS in pixels, clipped to ``image_size``, (height, width) after the
    transforms; polygons become flat arrays, not clipped; a COCO RLE becomes an (H, W) uint8 mask.
    """
    if isinstance(transforms, (list, tuple)):
        transforms = TransformList(transforms)
    corners = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    moved = transforms.apply_box(np.array([corners]))[0]
    annotation["bbox"] = np.minimum(moved.clip(min=0), image_size[::-1] * 2)
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    mask = annotation.get("segmentation")
    if isinstance(mask, dict):
        annotation["segmentation"] = transforms.apply_segmentation(coco_mask.decode(mask))
    elif mask is not None:
        polygons = transforms.apply_polygons([np.asarray(p).reshape(-1, 2) for p in mask])
        annotation["segmentation"] = [polygon.reshape(-1) for polygon in polygons]
    return annotation


def _to_bitmap(segmentation: Any, image_size: tuple[int, int]) -> np.ndarray:
    """Convert polygons, RLE or an (H, W) mask of one instance to (H, W)."""
    if isinstance(segmentation, list):
        return polygons_to_bitmask(segmentation, *image_size)
    return coco_mask.decode(segmentation) if isinstance(segmentation, dict) else segmentation


def annotations_to_instances(
    annos: Sequence[dict[str, Any]], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """Make the training targets of one image from its transformed annotations.

    They have gt_boxes (N), gt_classes (N,) int64 and, if the first annotation has a segmentation,
    gt_masks; ``mask_format`` is "polygon", or "bitmask" for polygons, RLE and masks.

    Raises:
        ValueError: some annotations lack a segmentation, or one is not polygons in that format.
    """
    assert mask_format in ("polygon", "bitmask"), f"mask_format={mask_format!r} is unknown."
    corners = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annos]
    target = Instances(image_size)
    target.gt_boxes = Boxes(np.stack(corners) if corners else np.zeros((0, 4)))
    target.gt_classes = torch.tensor([int(a["category_id"]) for a in annos], dtype=torch.int64)
    if not annos or "segmentation" not in annos[0]:
        return target
    masks: list[Any] = [a.get("segmentation") for a in annos]
    if any(mask is None for mask in masks):
        raise ValueError(
            "Only some annotations of an image have a segmentation: add the missing ones, or train "
            "without masks."
        )
    if mask_format == "bitmask":
        target.gt_masks = BitMasks(np.stack([_to_bitmap(mask, image_size) for mask in masks]) != 0)
    elif all(isinstance(mask, list) for mask in masks):
        target.gt_masks = PolygonMasks(masks)
    else:
        raise ValueError(
            "Not all masks of the image are polygons: for masks in RLE set "
            "instance_mask_format='bitmask' in the mapper."
        )
    return target


def filter_empty_instances(instances: Instances) -> Instances:
    """Drop instances whose box has a side of at most 1e-5 pixels, or whose mask is empty."""
    keep = instances.gt_boxes.nonempty(threshold=1e-5)
    if instances.has("gt_masks"):
        keep &= instances.gt_masks.nonempty()
    return instances[keep]
