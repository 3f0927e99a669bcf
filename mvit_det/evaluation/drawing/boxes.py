"""Draw instances onto an image, for evaluation and prediction."""

import colorsys
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import torch
from detectron2.structures import Instances
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from mvit_det.evaluation.drawing.fonts import drawable
from mvit_det.evaluation.drawing.labels import Colour, panel

# pixels: a small image is enlarged to this short side, so that labels are legible, but at most to
# this long side
SHORT_SIDE, LONG_SIDE = 480, 1280

_STRIP = 256  # rows that are blended at a time


def enlargement(height: int, width: int) -> float:
    """Return the scale, 1 or more, that enlarges a small image (sides in pixels) for drawing."""
    return max(1.0, min(SHORT_SIDE / min(height, width), LONG_SIDE / max(height, width)))


def to_pixels(image: Tensor, mean: Tensor, std: Tensor) -> np.ndarray:
    """Convert an input of the model back to an image (H, W, 3) uint8.

    Args:
        image: normalized (3, H, W).
        mean: (3, 1, 1), subtracted from values from 0 to 1.
        std: (3, 1, 1), the divisor.
    """
    values = image.detach().float().cpu() * std + mean
    return (values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def resize_image(image: np.ndarray, scale: float) -> np.ndarray:
    """Scale an image (H, W, C) uint8 by a factor above 0, to at least one pixel per side."""
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def overlay(image: np.ndarray, instances: Instances, names: list[str] | None) -> np.ndarray:
    """Draw boxes, masks and labels of instances, small ones over large ones.

    Args:
        image: (H, W, 3) uint8, RGB.
        instances: with pred_boxes and pred_classes, optionally scores and pred_masks, on the CPU;
            image_size may differ from (H, W).
        names: of the classes; None to label with class indices.

    Returns:
        A new image (H, W, 3) uint8.
    """
    if not len(instances):
        return image.copy()
    height, width = image.shape[:2]
    instances = instances[instances.pred_boxes.area().argsort(descending=True)]
    classes = instances.pred_classes.tolist()
    colours = [class_colour(label) for label in classes]
    line = max(2, round((height * width) ** 0.5 / 300))
    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if instances.has("pred_masks"):
        picture = _blend_masks(picture, instances.pred_masks, colours)
        line = 1
    scale = torch.tensor([width, height] * 2) / torch.tensor(instances.image_size[::-1] * 2)
    corners = instances.pred_boxes.tensor * scale - torch.tensor([0, 0, 1, 1])
    corners[:, 2:] = corners[:, 2:].maximum(corners[:, :2])
    picture = draw_bounding_boxes(picture, corners, colors=colours, width=line)
    texts = [drawable(names[k], str(k)) if names else str(k) for k in classes]
    if instances.has("scores"):
        texts = [f"{text} {score:.0%}" for text, score in zip(texts, instances.scores.tolist())]
    return _draw_labels(picture.permute(1, 2, 0).numpy(), texts, corners, colours)


def _blend_masks(picture: Tensor, masks: Iterable[Tensor], colours: Sequence[Colour]) -> Tensor:
    """Blend masks (N, h, w) into a copy of an image (3, H, W) uint8, later ones over earlier."""
    height, width = picture.shape[1:]
    owner, edge = np.full((height, width), -1, np.int32), np.zeros((height, width), np.uint8)
    # one by one: all masks of a large image may not fit into memory
    for index, mask in enumerate(masks):
        inside = mask.numpy()
        if inside.shape != owner.shape:
            inside = cv2.resize(inside.astype(np.float32), (width, height)) > 0.5
        x, y, w, h = cv2.boundingRect(inside.astype(np.uint8))
        region = slice(max(y - 1, 0), y + h + 1), slice(max(x - 1, 0), x + w + 1)
        part = inside[region].astype(np.uint8)
        owner[region][part > 0] = index
        edge[region][part > 0] = (part - cv2.erode(part, np.ones((3, 3))))[part > 0]
    kinds = list(dict.fromkeys(colours))
    kind_of = np.array([kinds.index(colour) for colour in colours] + [-1])
    picture = picture.clone()
    # in strips, since each class takes a bitmap of the strip
    for rows in (slice(start, start + _STRIP) for start in range(0, height, _STRIP)):
        kind = kind_of[owner[rows]]
        # torchvision turns overlapping masks black, so each pixel belongs to one mask
        for part, alpha in ((kind, 0.35), (np.where(edge[rows], kind, -1), 0.8)):
            flat = torch.from_numpy(part == np.arange(len(kinds))[:, None, None])
            strip = draw_segmentation_masks(picture[:, rows], flat, alpha=alpha, colors=kinds)
            picture[:, rows] = strip
    return picture


def _draw_labels(
    image: np.ndarray, texts: Sequence[str], corners: Tensor, colours: Sequence[Colour]
) -> np.ndarray:
    """Write each text above its box, or as near as possible within the image (H, W, 3) uint8.

    torchvision writes it into the box, where it hides a small object.
    """
    picture = Image.fromarray(image)
    # many labels are smaller, to hide less
    side = (picture.width * picture.height) ** 0.5
    letters = round(max(10, side / 45 * min(1, 20 / len(texts)) ** 0.3))
    for text, (x, y, *_), colour in zip(texts, corners.int().tolist(), colours):
        plate = panel((text,), colour, letters, picture.width)
        left = max(0, min(x, picture.width - plate.width))
        picture.paste(plate, (left, max(0, min(y, picture.height) - plate.height)), plate)
    return np.array(picture)


def class_colour(index: int) -> Colour:
    """Return RGB, 0 to 255; golden-ratio steps keep the hues of any number of classes distinct."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, 1)
    return round(255 * red), round(255 * green), round(255 * blue)
