"""Draw detections and annotations into a picture: masks and boxes by OpenCV, labels by Pillow."""

import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

from detectron2.data.catalog import Metadata
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from detectron2.utils.file_io import PathManager

# Bright, easily told apart in this order, and readable on a dark label.
_PALETTE = [
    tuple(bytes.fromhex(color))
    for color in (
        "ff4d6d 2ec4ff ffb627 4ade80 b388ff ff8a3d 14dcc4 ff6ad5 6d9bff c8e64c ffe14d e0a98a"
    ).split()
]
_LABEL_BACKGROUND = (18, 20, 26, 205)

# One instance's mask: (H, W), polygons as flat arrays, or an RLE dict.
Mask = np.ndarray | Sequence[np.ndarray] | dict[str, Any]


class VisImage:
    """A picture that has been drawn into."""

    def __init__(self, img: np.ndarray):
        self.img = img

    def get_image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, of the scaled size."""
        return self.img

    def save(self, filepath: str | os.PathLike) -> None:
        """Write an image file; its extension gives the format."""
        suffix = os.path.splitext(filepath)[1]
        encoded = cv2.imencode(suffix, cv2.cvtColor(self.img, cv2.COLOR_RGB2BGR))[1]
        with PathManager.open(str(filepath), "wb") as file:
            file.write(encoded.tobytes())


class Visualizer:
    """Draws into a copy of an (H, W, 3) RGB image, 0..255.

    ``metadata`` gives the names of classes (thing_classes). ``scale`` enlarges the picture first;
    lines and letters are sized for the result.
    """

    def __init__(self, img_rgb: np.ndarray, metadata: Metadata | None = None, scale: float = 1.0):
        image = np.asarray(img_rgb).clip(0, 255).astype(np.uint8)
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]  # (width, height)
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        self._image = cv2.resize(image, size, interpolation=way) if scale != 1 else image.copy()
        self._scale = scale
        self._names = () if metadata is None else metadata.get("thing_classes") or ()
        side = float(np.sqrt(np.prod(size)))
        self._line, self._letters = max(1, round(side / 450)), max(10, side / 45)

    def get_output(self) -> VisImage:
        """The picture as drawn so far."""
        return VisImage(self._image)

    def draw_instance_predictions(self, predictions: Instances) -> VisImage:
        """Draw what a model found: any of pred_boxes, pred_classes, scores and pred_masks."""
        found = predictions.to("cpu").get_fields()
        names = [self._name(c) for c in found.get("pred_classes", torch.empty(0)).tolist()]
        percents = [f"{score:.0%}" for score in found.get("scores", torch.empty(0)).tolist()]
        both = [f"{name} {percent}" for name, percent in zip(names, percents)]
        return self.overlay_instances(
            boxes=found.get("pred_boxes"),
            masks=found.get("pred_masks"),
            labels=both or names or percents,
        )

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the annotations of a dataset dict, before any augmentation."""
        boxes, labels, masks = [], [], []
        for entry in dic.get("annotations") or ():
            boxes.append(BoxMode.convert(entry["bbox"], entry["bbox_mode"], BoxMode.XYXY_ABS))
            crowd = " (crowd)" if entry.get("iscrowd", 0) else ""
            labels.append(self._name(entry["category_id"]) + crowd)
            masks.append(entry.get("segmentation") or [])
        return self.overlay_instances(boxes=np.array(boxes), labels=labels, masks=masks)

    def overlay_instances(
        self,
        *,
        boxes: Boxes | torch.Tensor | np.ndarray | None = None,
        labels: Sequence[str] | None = None,
        masks: BitMasks | PolygonMasks | torch.Tensor | Sequence[Mask] | None = None,
        assigned_colors: Sequence[Sequence[float]] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw N instances, the large ones below the small ones.

        Args:
            boxes: (N, 4) XYXY in pixels of the image, as are all coordinates.
            labels: N texts; they need ``boxes``.
            masks: N masks.
            assigned_colors: N colours, RGB of 0..1.
            alpha: how opaque masks are.
        """
        corners = None if boxes is None else self._corners(boxes)
        bitmaps = None if masks is None else [self._bitmap(m) for m in _mask_list(masks)]
        areas = np.array([bitmap.sum() for bitmap in bitmaps or ()])
        if corners is not None:
            areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
        colors = [_PALETTE[i % len(_PALETTE)] for i in range(len(areas))]
        if assigned_colors is not None:
            colors = [tuple(round(255 * float(c)) for c in color) for color in assigned_colors]
        for i in np.argsort(areas)[::-1]:
            if bitmaps is not None:
                self._draw_mask(bitmaps[i], colors[i], alpha)
            if corners is not None:
                self._draw_box(corners[i], colors[i], faint=bitmaps is not None)
        if labels and corners is not None:
            self._draw_labels(labels, corners, colors)
        return self.get_output()

    def _name(self, label: int) -> str:
        return self._names[label] if label < len(self._names) else f"class {label}"

    def _corners(self, boxes: Boxes | torch.Tensor | np.ndarray) -> np.ndarray:
        """(N, 4) XYXY in pixels of the picture."""
        tensor = boxes.tensor if isinstance(boxes, Boxes) else torch.as_tensor(boxes)
        return tensor.detach().cpu().double().numpy().reshape(-1, 4) * self._scale

    def _bitmap(self, mask: Mask) -> np.ndarray:
        """One mask as (H, W) uint8, 0 or 1, of the picture's size."""
        height, width = self._image.shape[:2]
        if isinstance(mask, dict):
            mask = coco_mask.decode(mask)
        if isinstance(mask, np.ndarray) and mask.ndim == 2:
            # Interpolated, so that an enlarged mask has round edges.
            soft = cv2.resize(mask.astype(np.float32), (width, height))
            return (soft >= 0.5).astype(np.uint8)
        bitmap = np.zeros((height, width), np.uint8)
        for polygon in mask:
            # OpenCV takes whole numbers; with shift=4 they count sixteenths of a pixel.
            points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2) * self._scale - 0.5
            cv2.fillPoly(bitmap, [np.round(points * 16).astype(np.int32)], 1, shift=4)
        return bitmap

    def _draw_mask(self, bitmap: np.ndarray, color: tuple, alpha: float) -> None:
        x, y, width, height = cv2.boundingRect(bitmap)
        part = self._image[y : y + height, x : x + width]
        cover = alpha * bitmap[y : y + height, x : x + width, None]
        part[:] = np.round(part * (1 - cover) + np.array(color) * cover)
        outlines, _ = cv2.findContours(bitmap, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.polylines(self._image, outlines, True, _brightened(color), self._line, cv2.LINE_AA)

    def _draw_box(self, corners: np.ndarray, color: tuple, faint: bool) -> None:
        left, top, right, bottom = np.round(corners).astype(int).tolist()
        line = max(1, self._line // 2) if faint else self._line
        cv2.rectangle(self._image, (left, top), (right - 1, bottom - 1), color, line, cv2.LINE_AA)

    def _draw_labels(self, labels: Sequence[str], corners: np.ndarray, colors: Sequence) -> None:
        """Write each label above its box, or as near to that as the picture allows."""
        picture = Image.fromarray(self._image)
        draw = ImageDraw.Draw(picture, "RGBA")
        # Many labels are smaller, so that they hide less.
        font = ImageFont.load_default(size=self._letters * min(1, 20 / len(labels)) ** 0.3)
        ascent, descent = font.getmetrics()
        pad = max(2, (ascent + descent) // 5)
        for text, (x, y, _, _), color in zip(labels, corners, colors):
            width, height = draw.textlength(text, font) + 2 * pad, ascent + descent + pad
            left = max(0, min(x, picture.width - width))
            top = max(0, min(y, picture.height) - height)
            ground = (left, top, left + width, top + height)
            draw.rounded_rectangle(ground, pad, fill=_LABEL_BACKGROUND)
            draw.text((left + pad, top + pad / 2), text, fill=_brightened(color), font=font)
        self._image = np.array(picture)


def _brightened(color: Sequence[int]) -> tuple[int, ...]:
    """Mix a colour with white so that it can be read on a dark ground."""
    luma = float(np.dot(color, (0.299, 0.587, 0.114)))
    share = max(0.3, (165 - luma) / (255 - luma + 1e-6))
    return tuple(round(c + (255 - c) * share) for c in color)


def _mask_list(masks: Any) -> list[Mask]:
    if isinstance(masks, PolygonMasks):
        return list(masks.polygons)
    if isinstance(masks, (BitMasks, torch.Tensor)):
        tensor = masks.tensor if isinstance(masks, BitMasks) else masks
        return list(tensor.cpu().numpy())
    return list(masks)
