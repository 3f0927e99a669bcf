"""From detections in the network's input to detections in the original image."""

from detectron2.layers import paste_masks_in_image
from detectron2.structures import Instances


def detector_postprocess(
    results: Instances, output_height: int, output_width: int, mask_threshold: float = 0.5
) -> Instances:
    """Bring detections to another resolution.

    Args:
        results: of one image; left alone. ``pred_masks`` (N, 1, M, M), if any, are probabilities
            over the boxes, which are ``pred_boxes``, or ``proposal_boxes``.
        mask_threshold: a pixel belongs to a mask from this probability on.

    Returns:
        Instances of the new size: boxes clipped to it, empty ones dropped, and ``pred_masks``
        (N, output_height, output_width) bool.
    """
    size = (int(output_height), int(output_width))
    height, width = results.image_size
    fields = dict(results.get_fields())
    box_field = "pred_boxes" if "pred_boxes" in fields else "proposal_boxes"
    assert box_field in fields, "Detections to post-process have no boxes."
    boxes = fields[box_field].clone()
    boxes.scale(output_width / width, output_height / height)
    boxes.clip(size)
    fields[box_field] = boxes
    kept = Instances(size, **fields)[boxes.nonempty()]
    if kept.has("pred_masks"):
        kept.pred_masks = paste_masks_in_image(
            kept.pred_masks[:, 0], kept.get(box_field), size, threshold=mask_threshold
        )
    return kept
