"""How boxes are predicted relative to others. Legend: R boxes, k predictions per box."""

import torch
from torchvision.models.detection import _utils


class Box2BoxTransform:
    """The regression (dx, dy, dw, dh) of R-CNN (Girshick et al., 2014, appendix C).

    dx and dy move the centre by shares of the box's size, exp(dw) and exp(dh) scale the size, at
    most by 1000 / 16; all are multiplied by ``weights``.
    """

    def __init__(self, weights: tuple[float, float, float, float]):
        self.weights = tuple(weights)
        self._coder = _utils.BoxCoder(self.weights)

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        """Return (R, 4) deltas that take ``src_boxes`` to ``target_boxes``, both (R, 4) XYXY."""
        wide = src_boxes[:, 2] > src_boxes[:, 0]
        assert wide.all(), "Boxes to regress from must have a positive width."
        return self._coder.encode_single(target_boxes, src_boxes)

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Undo ``get_deltas``: (R, k * 4) and (R, 4) XYXY -> (R, k * 4) XYXY, float32."""
        return self._coder.decode_single(deltas.float(), boxes)
