"""From the crop of a proposal to one vector."""

from typing import Sequence

from fvcore.nn import weight_init
from torch import nn

from detectron2.layers import Conv2d, Linear, ShapeSpec, get_norm


def conv3x3_relu(in_channels: int, out_channels: int, norm: str) -> Conv2d:
    """3x3 convolution, norm (see ``get_norm``), ReLU; with a norm there is no bias."""
    after = dict(norm=get_norm(norm, out_channels), activation=nn.ReLU())
    return Conv2d(in_channels, out_channels, 3, padding=1, bias=not norm, **after)


class FastRCNNConvFCHead(nn.Sequential):
    """3x3 convolutions, then fully connected layers, each followed by ReLU.

    Parameters are ``conv1.*``, ``conv2.*``, ..., ``fc1.*``, ``fc2.*``, ...
    """

    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dims: Sequence[int],
        fc_dims: Sequence[int],
        conv_norm: str = "",
    ):
        """
        Args:
            input_shape: of a crop: channels, height, width.
            conv_dims, fc_dims: widths of the layers; one of the lists may be empty.
            conv_norm: see ``conv3x3_relu``.
        """
        super().__init__()
        assert len(conv_dims) + len(fc_dims) > 0, "A box head needs at least one layer."
        channels = input_shape.channels
        convs = []
        for k, dim in enumerate(conv_dims, start=1):
            convs.append(conv3x3_relu(channels, dim, conv_norm))
            self.add_module(f"conv{k}", convs[-1])
            channels = dim
        self._output_shape = ShapeSpec(channels, input_shape.height, input_shape.width)
        fcs = []
        if fc_dims:
            self.add_module("flatten", nn.Flatten())
            width = channels * input_shape.height * input_shape.width
            for k, dim in enumerate(fc_dims, start=1):
                fcs.append(Linear(width, dim))
                self.add_module(f"fc{k}", fcs[-1])
                self.add_module(f"fc_relu{k}", nn.ReLU())
                width = dim
            self._output_shape = ShapeSpec(channels=width)
        for conv in convs:
            weight_init.c2_msra_fill(conv)
        for fc in fcs:
            weight_init.c2_xavier_fill(fc)

    @property
    def output_shape(self) -> ShapeSpec:
        """What ``forward`` gives: channels alone, or with height and width if there is no fc."""
        return self._output_shape
