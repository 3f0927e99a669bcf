"""Instances drawn onto a picture: what evaluation and prediction have in common."""

import colorsys

import cv2
import numpy as np
import torch
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer

# Sizes in pixels: a small picture is enlarged to this short side, so that labels can be read, but
# not beyond this long side.
SHORT_SIDE, LONG_SIDE = 480, 1280


def enlargement(height: int, width: int) -> float:
    """The factor, 1 or more, by which a small picture is enlarged before it is drawn on."""
    return max(1.0, min(SHORT_SIDE / min(height, width), LONG_SIDE / max(height, width)))


def pixels_of(image: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> np.ndarray:
    """The picture (H, W, 3) uint8 that a model's input (3, H, W) shows.

    Args:
        mean, std: (3, 1, 1), by which it was normalised, from 0..1.
    """
    shares = image.detach().float().cpu() * std + mean
    return (shares.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """An image (H, W, C) enlarged or reduced, to no less than a pixel."""
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def overlay(image: np.ndarray, instances: Instances, names: list[str] | None) -> np.ndarray:
    """Draw boxes, masks and labels of instances of another scale onto an RGB image (H, W, 3).

    Args:
        instances: with pred_boxes and pred_classes, perhaps scores and pred_masks; on the CPU.
        names: of the classes; without them labels are numbers.
    """
    height, width = image.shape[:2]
    scale = torch.tensor([width, height, width, height]) / torch.tensor(
        instances.image_size[::-1] * 2
    )
    labels = []
    for index, label in enumerate(instances.pred_classes.tolist()):
        text = names[label] if names else str(label)
        score = f" {instances.scores[index]:.0%}" if instances.has("scores") else ""
        labels.append(text + score)
    masks = None
    if instances.has("pred_masks") and len(instances):
        # one by one: as floats, all masks of a large picture may not fit into memory
        soft = (mask.float().numpy() for mask in instances.pred_masks)
        masks = np.stack([cv2.resize(mask, (width, height)) > 0.5 for mask in soft])
    drawing = Visualizer(image).overlay_instances(
        boxes=instances.pred_boxes.tensor * scale,
        labels=labels,
        masks=masks,
        assigned_colors=[class_colour(i) for i in instances.pred_classes.tolist()],
        alpha=0.35,
    )
    return drawing.get_image()


def class_colour(index: int) -> tuple[float, float, float]:
    """RGB, 0 to 1; steps of the golden ratio keep the hues of any number of classes apart."""
    return colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, 1.0)
