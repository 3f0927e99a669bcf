"""Regression of boxes relative to reference boxes. Legend: R boxes, k predictions per box."""

import math

import torch

# The limit of dw and dh before exp, which could overflow: a side of 16 pixels (the stride of C4
# models) may grow to 1000.
SCALE_CLAMP = math.log(1000 / 16)


def _center_and_size(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centres (..., 2) and sizes (..., 2) of boxes (..., 4) XYXY."""
    near, far = boxes[..., :2], boxes[..., 2:]
    size = far - near
    return near + 0.5 * size, size


class Box2BoxTransform:
    """The regression (dx, dy, dw, dh) of R-CNN (Girshick et al., 2014, appendix C).

    dx and dy move the centre by fractions of the size, exp(dw) and exp(dh) scale the size; the
    deltas are multiplied by ``weights``.
    """

    def __init__(self, weights: tuple[float, float, float, float]):
        self.weights = tuple(weights)

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        """Return the deltas (R, 4) from ``src_boxes`` to ``target_boxes``, both (R, 4) XYXY.

        Raises:
            AssertionError: a source box has no positive width.
        """
        center, size = _center_and_size(src_boxes)
        target_center, target_size = _center_and_size(target_boxes)
        assert (size[..., 0] > 0).all(), "Reference boxes must have a positive width."
        deltas = torch.cat(((target_center - center) / size, (target_size / size).log()), dim=-1)
        return deltas * deltas.new_tensor(self.weights)

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Invert ``get_deltas``: (R, k * 4) deltas, (R, 4) XYXY -> (R, k * 4) XYXY, float32."""
        deltas = deltas.float().unflatten(-1, (deltas.shape[-1] // 4, 4))  # (R, k, 4)
        shift, growth = (deltas / deltas.new_tensor(self.weights)).split(2, dim=-1)
        center, size = _center_and_size(boxes.to(deltas.dtype)[..., None, :])
        center = center + shift * size
        half = 0.5 * size * growth.clamp(max=SCALE_CLAMP).exp()
        return torch.cat((center - half, center + half), dim=-1).flatten(-2)
