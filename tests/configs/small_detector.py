"""Detectors of configs with the same structure but few blocks and channels, and images for them."""

import numpy as np
import torch
from detectron2.structures import BitMasks, Boxes, Instances


def vit_of(model):
    """The config of the backbone without its pyramid."""
    return model.backbone.get("bottom_up", model.backbone)


def shrink(model) -> None:
    """Keep the structure of a detector, but with few blocks and channels."""
    vit, heads = vit_of(model), model.roi_heads
    vit.embed_dim = 8 * vit.num_heads
    is_vit = vit.get("width_growth", 2) == 1
    if not is_vit:
        vit.update(depth=4, last_block_indexes=(0, 1, 2, 3))
    if "bottom_up" in model.backbone:
        model.backbone.out_channels = 16
    else:
        channels = vit.embed_dim * (1 if is_vit else 8)
        model.proposal_generator.head.in_channels = channels
        for head in (heads.box_head, heads.mask_head):
            head.input_shape.channels = channels
    for head in heads.get("box_heads", [heads.get("box_head")]):
        head.update(conv_dims=[16] * len(head.conv_dims), fc_dims=[32] * len(head.fc_dims))
    heads.mask_head.conv_dims = [16] * len(heads.mask_head.conv_dims)
    if "test_short_sides" in model:
        model.test_short_sides = [48, 64]


def batch(num_classes: int) -> list[dict]:
    """Two images of different size: one with two objects, one with none."""
    rng = np.random.default_rng(0)
    inputs = []
    for height, width, count in ((64, 96, 2), (80, 64, 0)):
        objects = Instances((height, width))
        objects.gt_boxes = Boxes(torch.tensor([[4.0, 8, 40, 50], [30, 20, 60, 60]])[:count])
        objects.gt_classes = torch.tensor([0, num_classes - 1])[:count]
        masks = torch.zeros(count, height, width, dtype=torch.bool)
        masks[:, 25:45, 32:38] = True
        objects.gt_masks = BitMasks(masks)
        image = torch.from_numpy(rng.integers(0, 255, (3, height, width), dtype=np.uint8))
        inputs.append(dict(image=image, height=height, width=width, instances=objects))
    return inputs
