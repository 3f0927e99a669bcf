"""How boxes are predicted relative to others, and the losses on them.

Legend: R boxes, k predictions per box.
"""

import math

import torch
from fvcore.nn import giou_loss, smooth_l1_loss

# A box may grow to 1000 pixels from 16 (the finest stride of Faster R-CNN's C4 model): more
# would overflow exp.
DEFAULT_SCALE_CLAMP = math.log(1000 / 16)


def _center_and_size(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(..., 4) XYXY -> (..., 2) centres and (..., 2) sizes."""
    near, far = boxes[..., :2], boxes[..., 2:]
    size = far - near
    return near + 0.5 * size, size


class Box2BoxTransform:
    """The regression (dx, dy, dw, dh) of R-CNN (Girshick et al., 2014, appendix C).

    dx and dy move the centre by shares of the box's size, exp(dw) and exp(dh) scale the size.
    """

    def __init__(
        self, weights: tuple[float, float, float, float], scale_clamp: float = DEFAULT_SCALE_CLAMP
    ):
        """Args: ``weights`` multiply (dx, dy, dw, dh); ``scale_clamp`` is the upper bound of dw
        and dh (before weighting) when they are applied."""
        self.weights = tuple(weights)
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        """(R, 4) deltas that take ``src_boxes`` to ``target_boxes``, both (R, 4) XYXY."""
        center, size = _center_and_size(src_boxes)
        target_center, target_size = _center_and_size(target_boxes)
        assert (size[..., 0] > 0).all(), "Boxes to regress from must have a positive width."
        deltas = torch.cat(((target_center - center) / size, (target_size / size).log()), dim=-1)
        return deltas * deltas.new_tensor(self.weights)

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Undo ``get_deltas``.

        Args:
            deltas: (R, k * 4); in half precision they are taken to float32.
            boxes: (R, 4) XYXY.

        Returns:
            (R, k * 4) XYXY, float32.
        """
        deltas = deltas.float().unflatten(-1, (deltas.shape[-1] // 4, 4))  # (R, k, 4)
        shift, growth = (deltas / deltas.new_tensor(self.weights)).split(2, dim=-1)
        center, size = _center_and_size(boxes.to(deltas.dtype)[..., None, :])
        center = center + shift * size
        half = 0.5 * size * growth.clamp(max=self.scale_clamp).exp()
        return torch.cat((center - half, center + half), dim=-1).flatten(-2)


def box_regression_loss(
    transform: Box2BoxTransform,
    boxes: torch.Tensor,
    deltas: torch.Tensor,
    gt_boxes: torch.Tensor,
    loss_type: str,
    smooth_l1_beta: float,
) -> torch.Tensor:
    """Sum of the losses of matched boxes.

    Args:
        boxes: (R, 4) XYXY, which ``deltas`` (R, 4) are relative to.
        gt_boxes: (R, 4) XYXY.
        loss_type: "smooth_l1" compares deltas, "giou" compares boxes.
        smooth_l1_beta: where L1 turns into L2; 0 is plain L1.
    """
    if loss_type == "smooth_l1":
        targets = transform.get_deltas(boxes, gt_boxes)
        return smooth_l1_loss(deltas, targets, beta=smooth_l1_beta, reduction="sum")
    if loss_type == "giou":
        return giou_loss(transform.apply_deltas(deltas, boxes), gt_boxes, reduction="sum")
    raise ValueError(f"box_reg_loss_type must be 'smooth_l1' or 'giou', got {loss_type!r}.")
