"""How boxes are predicted relative to others. Legend: R boxes, k predictions per box."""

import math

import torch

# A box may grow to 1000 pixels from 16 (the finest stride of Faster R-CNN's C4 model): more
# would overflow exp.
SCALE_CLAMP = math.log(1000 / 16)


def _center_and_size(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centres (..., 2) and sizes (..., 2) of boxes (..., 4) XYXY."""
    near, far = boxes[..., :2], boxes[..., 2:]
    size = far - near
    return near + 0.5 * size, size


class Box2BoxTransform:
    """The regression (dx, dy, dw, dh) of R-CNN (Girshick et al., 2014, appendix C).

    dx and dy move the centre by shares of the box's size, exp(dw) and exp(dh) scale the size; all
    are multiplied by ``weights``.
    """

    def __init__(self, weights: tuple[float, float, float, float]):
        self.weights = tuple(weights)

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        """Return (R, 4) deltas that take ``src_boxes`` to ``target_boxes``, both (R, 4) XYXY."""
        center, size = _center_and_size(src_boxes)
        target_center, target_size = _center_and_size(target_boxes)
        assert (size[..., 0] > 0).all(), "Boxes to regress from must have a positive width."
        deltas = torch.cat(((target_center - center) / size, (target_size / size).log()), dim=-1)
        return deltas * deltas.new_tensor(self.weights)

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Undo ``get_deltas``: (R, k * 4) and (R, 4) XYXY -> (R, k * 4) XYXY, float32."""
        deltas = deltas.float().unflatten(-1, (deltas.shape[-1] // 4, 4))  # (R, k, 4)
        shift, growth = (deltas / deltas.new_tensor(self.weights)).split(2, dim=-1)
        center, size = _center_and_size(boxes.to(deltas.dtype)[..., None, :])
        center = center + shift * size
        half = 0.5 * size * growth.clamp(max=SCALE_CLAMP).exp()
        return torch.cat((center - half, center + half), dim=-1).flatten(-2)
