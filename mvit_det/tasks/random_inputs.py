"""Random boxes and instances, for measuring models."""

import torch
from detectron2.structures import Boxes, Instances, PolygonMasks


def random_boxes(count: int, size: tuple[int, int]) -> Boxes:
    """Make boxes inside an image of ``size`` (H, W), with sides of 0.1 to 0.5 of the image's."""
    extent = torch.tensor([size[1], size[0]])
    sides = extent * (0.1 + 0.4 * torch.rand(count, 2))
    corner = (extent - sides) * torch.rand(count, 2)
    return Boxes(torch.cat([corner, corner + sides], dim=1))


def random_instances(size: tuple[int, int], num_classes: int, count: int = 8) -> Instances:
    """Make ground truth for an image of ``size`` (H, W): boxes, each with a diamond as its mask."""
    boxes = random_boxes(count, size)
    (x0, y0, x1, y1), (x, y) = boxes.tensor.T, boxes.get_centers().T
    diamonds = torch.stack([x0, y, x, y0, x1, y, x, y1], dim=1).double().numpy()
    return Instances(
        size,
        gt_boxes=boxes,
        gt_classes=torch.randint(num_classes, (count,)),
        gt_masks=PolygonMasks([[diamond] for diamond in diamonds]),
    )
