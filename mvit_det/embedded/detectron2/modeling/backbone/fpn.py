"""Feature Pyramid Network (Lin et al., CVPR 2017)."""

from typing import Sequence

import torch
from fvcore.nn import weight_init
from torch import nn
from torch.nn import functional as F

from detectron2.layers import Conv2d, get_norm

from .backbone import Backbone


class FPN(Backbone):
    """Merges feature maps top-down, so that each has high resolution and high-level content.

    Outputs are named by the logarithm of their stride: ``p2`` has stride 4, ``p5`` has 32.
    Parameters are ``fpn_lateral{2..5}``, ``fpn_output{2..5}`` and ``bottom_up.*``.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: str = "",
        top_block: nn.Module | None = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ):
        """
        Args:
            bottom_up: gives the maps to merge.
            in_features: names of its outputs, from the finest on, each of twice the stride.
            norm: after every convolution, see ``get_norm``; with one, convolutions have no bias.
            top_block: adds coarser levels; has ``in_feature`` and ``num_levels``.
            fuse_type: how two levels meet: "sum" or "avg".
            square_pad: pad every batch to this height and width; 0: do not.
        """
        super().__init__()
        assert isinstance(bottom_up, Backbone), f"Not a Backbone: {type(bottom_up).__name__}."
        assert in_features, "FPN needs at least one of the backbone's features."
        assert fuse_type in ("sum", "avg"), f"fuse_type must be 'sum' or 'avg', got {fuse_type!r}."
        shapes = bottom_up.output_shape()
        strides = [shapes[name].stride for name in in_features]
        for fine, coarse in zip(strides, strides[1:]):
            assert coarse == 2 * fine, f"Each stride must be twice the one before: {strides}."
        levels = [stride.bit_length() - 1 for stride in strides]

        self.in_features = tuple(in_features)
        self.levels = levels
        for name, level in zip(in_features, levels):
            pair = [
                Conv2d(
                    channels,
                    out_channels,
                    kernel_size=size,
                    padding=size // 2,
                    bias=norm == "",
                    norm=get_norm(norm, out_channels),
                )
                for channels, size in ((shapes[name].channels, 1), (out_channels, 3))
            ]
            for role, conv in zip(("lateral", "output"), pair):
                weight_init.c2_xavier_fill(conv)
                self.add_module(f"fpn_{role}{level}", conv)
        self.top_block = top_block
        self.bottom_up = bottom_up
        self._average = fuse_type == "avg"
        self._divisor = strides[-1]
        self._square_pad = square_pad

        if top_block is not None:
            levels = levels + [levels[-1] + i + 1 for i in range(top_block.num_levels)]
        self._out_features = [f"p{level}" for level in levels]
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._out_feature_strides = {
            name: strides[0] << step for step, name in enumerate(self._out_features)
        }

    @property
    def size_divisibility(self) -> int:
        return self._divisor

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"square_size": self._square_pad}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Args: ``x`` (N, 3, H, W). Returns: {"p2": (N, out_channels, H/4, W/4), ...}."""
        maps = self.bottom_up(x)
        pyramid: dict[str, torch.Tensor] = {}
        above = None
        for name, level in reversed(list(zip(self.in_features, self.levels))):
            merged = self.get_submodule(f"fpn_lateral{level}")(maps[name])
            if above is not None:
                upsampled = F.interpolate(above, size=merged.shape[-2:], mode="nearest")
                merged = torch.lerp(merged, upsampled, 0.5) if self._average else merged + upsampled
            pyramid[f"p{level}"] = self.get_submodule(f"fpn_output{level}")(merged)
            above = merged
        if self.top_block is not None:
            # its input may be a level of the pyramid or a map of the backbone
            extra = self.top_block({**pyramid, **maps}[self.top_block.in_feature])
            pyramid.update(zip(self._out_features[len(self.levels) :], extra))
        return {name: pyramid[name] for name in self._out_features}


class LastLevelMaxPool(nn.Module):
    """Makes p6 from p5 by taking every second cell."""

    in_feature = "p5"
    num_levels = 1

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [F.max_pool2d(x, kernel_size=1, stride=2)]
