"""Draw detections and annotations into a picture: masks and boxes by OpenCV, labels by Pillow."""

import os
from collections import Counter
from collections.abc import Sequence
from enum import Enum
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


class ColorMode(Enum):
    """How instances are told apart."""

    IMAGE = 0  # each has its own colour
    SEGMENTATION = 1  # those of a class share its colour, in different tones
    IMAGE_BW = 2  # as IMAGE, on a gray background


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
    """Draws into a copy of an image.

    Args:
        img_rgb: (H, W, 3) RGB, 0..255.
        metadata: gives the names of classes (thing_classes) and, for `ColorMode.SEGMENTATION`,
            their colours (thing_colors).
        scale: enlarges the picture first; lines and letters are sized for the result.
    """

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata: Metadata | None = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ):
        image = np.asarray(img_rgb).clip(0, 255).astype(np.uint8)
        # (width, height) for OpenCV
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        self._image = cv2.resize(image, size, interpolation=way) if scale != 1 else image.copy()
        self._scale = scale
        self._metadata = Metadata() if metadata is None else metadata
        self._mode = instance_mode
        side = float(np.sqrt(np.prod(size)))
        self._line = max(1, round(side / 450))
        self._letters = max(10, side / 45) * font_size_scale

    def get_output(self) -> VisImage:
        """The picture as drawn so far."""
        return VisImage(self._image)

    def draw_instance_predictions(self, predictions: Instances, jittering: bool = True) -> VisImage:
        """Draw what a model found in the image.

        Args:
            predictions: any of pred_boxes, pred_classes, scores and pred_masks, in pixels of the
                image.
            jittering: for `ColorMode.SEGMENTATION`, vary the tone of a class's colour.
        """
        found = predictions.to("cpu").get_fields()
        classes = found["pred_classes"].tolist() if "pred_classes" in found else None
        scores = found["scores"].tolist() if "scores" in found else None
        return self.overlay_instances(
            boxes=found.get("pred_boxes"),
            masks=found.get("pred_masks"),
            labels=self._labels(classes, scores),
            assigned_colors=self._class_colors(classes, jittering),
        )

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the annotations of a dataset dict, before any augmentation."""
        annotations = dic.get("annotations") or []
        if not annotations:
            return self.get_output()
        corners = [
            BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations
        ]
        classes = [a["category_id"] for a in annotations]
        labels = self._labels(classes, None)
        crowds = [a.get("iscrowd", 0) for a in annotations]
        return self.overlay_instances(
            boxes=np.array(corners, dtype=np.float64),
            masks=[a.get("segmentation") or [] for a in annotations],
            labels=[f"{text} (crowd)" if crowd else text for text, crowd in zip(labels, crowds)],
            assigned_colors=self._class_colors(classes),
        )

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
        count = len(corners if corners is not None else bitmaps or ())
        colors = [_PALETTE[i % len(_PALETTE)] for i in range(count)]
        if assigned_colors is not None:
            colors = [tuple(round(255 * float(c)) for c in color) for color in assigned_colors]
        if self._mode is ColorMode.IMAGE_BW:
            self._bleach(bitmaps or [])
        areas = [0.0] * count
        if corners is not None:
            areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
        elif bitmaps is not None:
            areas = [bitmap.sum() for bitmap in bitmaps]
        for i in np.argsort(areas)[::-1]:
            if bitmaps is not None:
                self._draw_mask(bitmaps[i], colors[i], alpha)
            if corners is not None:
                self._draw_box(corners[i], colors[i], faint=bitmaps is not None)
        if labels and corners is not None:
            self._draw_labels(labels, corners, colors)
        return self.get_output()

    def _labels(
        self, classes: Sequence[int] | None, scores: Sequence[float] | None
    ) -> list[str] | None:
        names = self._metadata.get("thing_classes") or ()
        texts = [names[c] if c < len(names) else f"class {c}" for c in classes or ()]
        percents = [f"{score:.0%}" for score in scores or ()]
        if texts and percents:
            return [f"{text} {percent}" for text, percent in zip(texts, percents)]
        return texts or percents or None

    def _class_colors(
        self, classes: Sequence[int] | None, jittering: bool = True
    ) -> list[np.ndarray] | None:
        if classes is None or self._mode is not ColorMode.SEGMENTATION:
            return None
        palette = np.array(self._metadata.get("thing_colors") or _PALETTE) / 255
        tones = (1.0, 0.82, 1.18) if jittering else (1.0,)
        seen = Counter()
        colors = []
        for c in classes:
            colors.append((palette[c % len(palette)] * tones[seen[c] % len(tones)]).clip(0, 1))
            seen[c] += 1
        return colors

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
            part = np.zeros_like(bitmap)
            cv2.fillPoly(part, [np.round(points * 16).astype(np.int32)], 1, shift=4)
            bitmap |= part
        return bitmap

    def _bleach(self, bitmaps: Sequence[np.ndarray]) -> None:
        gray = cv2.cvtColor(self._image, cv2.COLOR_RGB2GRAY)[:, :, None]
        inside = np.any(bitmaps, axis=0) if bitmaps else np.zeros(gray.shape[:2], bool)
        self._image = np.where(inside[:, :, None], self._image, gray).astype(np.uint8)

    def _draw_mask(self, bitmap: np.ndarray, color: tuple, alpha: float) -> None:
        x, y, width, height = cv2.boundingRect(bitmap)
        if not width or not height:
            return
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
        """Write each label at its box, where it covers no other label if that is possible."""
        picture = Image.fromarray(self._image)
        draw = ImageDraw.Draw(picture, "RGBA")
        # Many labels are smaller, so that they hide less.
        font = ImageFont.load_default(size=self._letters * min(1, 20 / len(labels)) ** 0.3)
        ascent, descent = font.getmetrics()
        pad = max(2, (ascent + descent) // 5)
        placed: list[np.ndarray] = []
        for text, box, color in zip(labels, corners, colors):
            size = np.array([draw.textlength(text, font) + 2 * pad, ascent + descent + pad])
            left, top = _free_place(size, box, np.array(picture.size), placed)
            right, bottom = left + size[0], top + size[1]
            placed.append(np.array([left, top, right, bottom]))
            draw.rounded_rectangle((left, top, right, bottom), pad, fill=_LABEL_BACKGROUND)
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


def _free_place(
    size: np.ndarray, box: np.ndarray, limits: np.ndarray, placed: Sequence[np.ndarray]
) -> np.ndarray:
    """Choose the top left corner of a label of ``size`` (width, height) at ``box`` (XYXY).

    Above the box, inside at its top, below it, above at its right: the first that lies within
    ``limits`` and overlaps nothing ``placed``; else the one that is overlapped least.
    """
    left, top, right, bottom = box
    width, height = size
    wishes = [(left, top - height), (left, top), (left, bottom), (right - width, top - height)]
    places = np.clip(wishes, 0, np.maximum(limits - size, 0))
    covered = np.zeros(len(places))
    for other in placed:
        overlap = np.minimum(places + size, other[2:]) - np.maximum(places, other[:2])
        covered += overlap.clip(min=0).prod(axis=1)
    # Of places that are equally free, one that fits unmoved is better, and then an earlier one.
    moved = np.abs(places - wishes).sum(axis=1)
    return places[np.argmin(covered + 0.1 * moved + np.arange(len(places)))]
