"""Resize detections from the input of the network to the original image."""

from detectron2.layers import paste_masks_in_image
from detectron2.structures import Boxes, Instances


def detector_postprocess(results: Instances, output_height: int, output_width: int) -> Instances:
    """Resize the detections of one image to another resolution.

    Boxes are clipped to the image, and empty ones dropped. ``pred_masks`` (N, 1, M, M),
    probabilities over the boxes, become (N, output_height, output_width) bool.
    """
    size = (int(output_height), int(output_width))
    height, width = results.image_size
    scale = output_width / width, output_height / height
    boxes = results.pred_boxes.tensor
    boxes = Boxes(boxes * boxes.new_tensor(scale * 2))
    boxes.clip(size)
    output = Instances(size, **{**results.get_fields(), "pred_boxes": boxes})[boxes.nonempty()]
    if output.has("pred_masks"):
        output.pred_masks = paste_masks_in_image(output.pred_masks[:, 0], output.pred_boxes, size)
    return output
