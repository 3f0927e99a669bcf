"""Feature Pyramid Network (Lin et al., CVPR 2017)."""

from typing import Any

import torch
from fvcore.nn import weight_init
from torch import nn
from torch.nn import functional as F

from detectron2.layers import Conv2d, get_norm

from .backbone import Backbone


class FPN(Backbone):
    """Merge the maps ``in_features`` top-down; finest first, each has twice the stride.

    Outputs are named by the logarithm of their stride: ``p2`` has stride 4. ``top_block`` adds
    coarser maps. A ``norm`` (see ``get_norm``) replaces the bias of the convolutions.

    Raises:
        AssertionError: no ``in_features``, or strides that do not double.
    """

    def __init__(self, bottom_up: Backbone, in_features, out_channels, norm="", top_block=None):
        super().__init__()
        assert in_features, "FPN needs at least one of the backbone's features."
        shapes = bottom_up.output_shape()
        strides: list[Any] = [shapes[name].stride for name in in_features]
        for fine, coarse in zip(strides, strides[1:]):
            assert coarse == 2 * fine, f"Each stride must be twice the one before: {strides}."
        self.in_features = tuple(in_features)
        self.levels = [stride.bit_length() - 1 for stride in strides]

        def conv(width: int | None, size: int) -> Conv2d:
            layer = get_norm(norm, out_channels)
            return Conv2d(width, out_channels, size, padding=size // 2, bias=not norm, norm=layer)

        for name, level in zip(in_features, self.levels):
            pair = {"lateral": conv(shapes[name].channels, 1), "output": conv(out_channels, 3)}
            for role, module in pair.items():
                weight_init.c2_xavier_fill(module)
                self.add_module(f"fpn_{role}{level}", module)
        self.top_block = top_block
        self.bottom_up = bottom_up
        self.size_divisibility = strides[-1]

        first, extra = self.levels[0], 0 if top_block is None else top_block.num_levels
        every_level = range(first, first + len(strides) + extra)
        self._out_features = [f"p{level}" for level in every_level]
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._out_feature_strides = {f"p{level}": 2**level for level in every_level}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map (N, 3, H, W) -> {"p2": (N, out_channels, H/4, W/4), ...}."""
        maps = self.bottom_up(x)
        pyramid: dict[str, torch.Tensor] = {}
        merged = None
        for name, level in zip(self.in_features[::-1], self.levels[::-1]):
            lateral = self.get_submodule(f"fpn_lateral{level}")(maps[name])
            if merged is not None:
                lateral = lateral + F.interpolate(merged, size=lateral.shape[-2:], mode="nearest")
            merged = lateral
            pyramid[f"p{level}"] = self.get_submodule(f"fpn_output{level}")(merged)
        if self.top_block is not None:
            # its input may be a level of the pyramid or a map of the backbone
            extra = self.top_block({**pyramid, **maps}[self.top_block.in_feature])
            pyramid.update(zip(self._out_features[len(self.levels) :], extra))
        return {name: pyramid[name] for name in self._out_features}


class LastLevelMaxPool(nn.Module):
    """Make p6 of every second cell of p5."""

    in_feature = "p5"
    num_levels = 1

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map (N, C, H, W) -> [(N, C, ceil(H / 2), ceil(W / 2))]."""
        return [F.max_pool2d(x, kernel_size=1, stride=2)]
