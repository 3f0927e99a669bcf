"""The box head of Fast R-CNN: from the crop of a proposal to a vector."""

from typing import Any

from fvcore.nn import weight_init
from torch import nn

from detectron2.layers import Conv2d, ShapeSpec, get_norm


def conv3x3_relu(in_channels: int, out_channels: int, norm: str) -> Conv2d:
    """Make a 3x3 convolution, which has a norm (see ``get_norm``) or a bias, with ReLU."""
    layers = dict(norm=get_norm(norm, out_channels), activation=nn.ReLU())
    return Conv2d(in_channels, out_channels, 3, padding=1, bias=not norm, **layers)


class FastRCNNConvFCHead(nn.Sequential):
    """Apply 3x3 convolutions ``conv{1..}`` and linear layers ``fc{1..}``, each with a ReLU.

    Raises:
        AssertionError: no layers.
    """

    def __init__(
        self, input_shape: ShapeSpec, *, conv_dims: list[int], fc_dims: list[int], conv_norm=""
    ):
        super().__init__()
        assert len(conv_dims) + len(fc_dims) > 0, "A box head needs at least one layer."
        shape: Any = input_shape  # sides are None only if no layer needs them
        width, height = shape.channels, shape.height
        for k, dim in enumerate(conv_dims, start=1):
            self.add_module(f"conv{k}", conv3x3_relu(width, dim, conv_norm))
            width = dim
        self.output_shape = ShapeSpec(width, height, shape.width)
        if fc_dims:
            self.add_module("flatten", nn.Flatten())
            width = width * height * shape.width
            for k, dim in enumerate(fc_dims, start=1):
                self.add_module(f"fc{k}", nn.Linear(width, dim))
                self.add_module(f"fc_relu{k}", nn.ReLU())
                width = dim
            self.output_shape = ShapeSpec(channels=width)
        for layer in self:
            if isinstance(layer, Conv2d):
                weight_init.c2_msra_fill(layer)
            elif isinstance(layer, nn.Linear):
                weight_init.c2_xavier_fill(layer)
