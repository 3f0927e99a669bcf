"""Pure steps of a dataset mapper: read an image, transform annotations, make `Instances`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import Transform, TransformList
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask

from detectron2.data.catalog import MetadataCatalog
from detectron2.structures import (
    BitMasks,
    Boxes,
    BoxMode,
    Instances,
    PolygonMasks,
    polygons_to_bitmask,
)
from detectron2.utils.file_io import PathManager


class SizeMismatchError(ValueError):
    """An image is not as large as its annotation says."""


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image file, turned upright by its EXIF orientation.

    Args:
        format: "RGB", "BGR", "L" (gray), another mode of Pillow, or None for the file's own mode.

    Returns:
        (H, W, C) uint8, with C = 1 for "L"; in the file's own mode also (H, W).
    """
    with PathManager.open(file_name, "rb") as file:
        image = ImageOps.exif_transpose(Image.open(file))
        if format is not None:
            image = image.convert("RGB" if format == "BGR" else format)
        pixels = np.asarray(image)
    if format == "BGR":
        return pixels[:, :, ::-1]
    return pixels[:, :, None] if format == "L" else pixels


def convert_image_to_rgb(image: np.ndarray | torch.Tensor, format: str) -> np.ndarray:
    """Turn an image as `read_image` gives it in ``format`` into (H, W, 3) RGB, for drawing."""
    assert format in ("RGB", "BGR", "L"), f"Images of format {format!r} cannot be drawn."
    pixels = image.cpu().numpy() if isinstance(image, torch.Tensor) else image
    if format == "L":
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return pixels[:, :, ::-1] if format == "BGR" else pixels


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Compare the image with the dict's "width" and "height"; fill them in where both lack.

    Raises:
        SizeMismatchError: they differ.
    """
    height, width = image.shape[:2]
    if "width" not in dataset_dict and "height" not in dataset_dict:
        dataset_dict.update(width=width, height=height)
    elif (dataset_dict["width"], dataset_dict["height"]) != (width, height):
        raise SizeMismatchError(
            f"Image {dataset_dict.get('file_name', '')} is {width} wide and {height} high, but its "
            f"annotation says {dataset_dict['width']} wide and {dataset_dict['height']} high: "
            "correct width and height in the annotation file, or the file's EXIF orientation."
        )


def _transform_segmentation(segmentation: Any, transforms: Transform) -> Any:
    if isinstance(segmentation, list):
        polygons = [np.asarray(polygon).reshape(-1, 2) for polygon in segmentation]
        return [polygon.reshape(-1) for polygon in transforms.apply_polygons(polygons)]
    if isinstance(segmentation, dict):
        return transforms.apply_segmentation(coco_mask.decode(segmentation))
    raise ValueError(
        f"A segmentation is a list of polygons or an RLE dict, not {type(segmentation).__name__}."
    )


def transform_instance_annotations(
    annotation: dict[str, Any],
    transforms: Transform | Sequence[Transform],
    image_size: tuple[int, int],
) -> dict[str, Any]:
    """Transform the box and the segmentation of one instance, in place.

    Args:
        annotation: its "bbox" is in any ``bbox_mode``; its "segmentation", if any, a list of
            polygons or a COCO RLE.
        image_size: (height, width) after the transforms.

    Returns:
        ``annotation``: the box as XYXY_ABS, clipped to the image; polygons as flat arrays, not
        clipped; an RLE as a (height, width) uint8 mask.
    """
    if isinstance(transforms, (list, tuple)):
        transforms = TransformList(transforms)
    corners = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    moved = transforms.apply_box(np.array([corners]))[0]
    annotation["bbox"] = np.minimum(moved.clip(min=0), image_size[::-1] * 2)
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    if "segmentation" in annotation:
        annotation["segmentation"] = _transform_segmentation(annotation["segmentation"], transforms)
    return annotation


def _bitmap(segmentation: Any, image_size: tuple[int, int]) -> np.ndarray:
    """One instance's segmentation, in any form, as (H, W)."""
    if isinstance(segmentation, list):
        return polygons_to_bitmask(segmentation, *image_size)
    if isinstance(segmentation, dict):
        return coco_mask.decode(segmentation)
    if isinstance(segmentation, np.ndarray) and segmentation.ndim == 2:
        return segmentation
    raise ValueError(
        "A segmentation is a list of polygons, an RLE dict or a mask of shape (H, W), not "
        f"{type(segmentation).__name__} of shape {np.shape(segmentation)}."
    )


def annotations_to_instances(
    annos: Sequence[dict[str, Any]], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """Make the training targets of one image from its transformed annotations.

    Args:
        image_size: (height, width) in pixels.
        mask_format: "polygon" or "bitmask"; the latter takes polygons, RLE and masks.

    Returns:
        gt_boxes, gt_classes and, if the first annotation has a segmentation, gt_masks.
    """
    assert mask_format in ("polygon", "bitmask"), f"mask_format={mask_format!r} is unknown."
    corners = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annos]
    target = Instances(image_size)
    target.gt_boxes = Boxes(np.stack(corners) if corners else np.zeros((0, 4)))
    target.gt_classes = torch.tensor([int(a["category_id"]) for a in annos], dtype=torch.int64)
    if not annos or "segmentation" not in annos[0]:
        return target
    lacking = [number for number, a in enumerate(annos) if "segmentation" not in a]
    if lacking:
        raise ValueError(
            f"Some annotations have a segmentation, but annotation {lacking[0]} of {len(annos)} of "
            "the image has none: add it, or train without masks."
        )
    masks = [a["segmentation"] for a in annos]
    if mask_format == "bitmask":
        target.gt_masks = BitMasks(np.stack([_bitmap(mask, image_size) for mask in masks]) != 0)
    elif all(isinstance(mask, list) for mask in masks):
        target.gt_masks = PolygonMasks(masks)
    else:
        raise ValueError(
            "Not all masks of the image are polygons: for masks in RLE set "
            "instance_mask_format='bitmask' in the mapper."
        )
    return target


def check_metadata_consistency(key: str, dataset_names: Sequence[str]) -> None:
    """Make sure that data sets which are to be mixed agree in one entry of their metadata.

    Raises:
        AttributeError: one of them does not have it.
        ValueError: they differ.
    """
    first, *others = [getattr(MetadataCatalog.get(name), key) for name in dataset_names]
    for name, entry in zip(dataset_names[1:], others):
        if entry != first:
            raise ValueError(
                f"{key} of dataset {name!r} is {entry}, but {dataset_names[0]!r} has {first}: data "
                "sets can be trained together only if these are equal."
            )


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Instances | tuple[Instances, torch.Tensor]:
    """Drop instances whose box is not wider and higher than a threshold, or whose mask is empty.

    Args:
        return_mask: also return (N,) bool: which instances stay.
    """
    assert by_box or by_mask, "filter_empty_instances needs by_box, by_mask, or both."
    keep = torch.ones(len(instances), dtype=torch.bool)
    if by_box:
        keep &= instances.gt_boxes.nonempty(threshold=box_threshold)
    if by_mask and instances.has("gt_masks"):
        keep &= instances.gt_masks.nonempty()
    return (instances[keep], keep) if return_mask else instances[keep]
