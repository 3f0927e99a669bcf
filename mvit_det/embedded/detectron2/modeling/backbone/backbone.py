"""The interface of a backbone to a detector, and the registry of backbones."""

from abc import ABCMeta, abstractmethod

import torch
from torch import nn

from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

BACKBONE_REGISTRY = Registry("BACKBONE")


class Backbone(nn.Module, metaclass=ABCMeta):
    """Maps (N, 3, H, W) to named feature maps.

    A subclass sets ``_out_features`` (names, finest first), ``_out_feature_channels`` and
    ``_out_feature_strides`` (dicts by name). Heights and widths of its inputs must be multiples
    of ``size_divisibility``; 0: any will do.
    """

    size_divisibility = 0

    @abstractmethod
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return (N, C, H / stride, W / stride) for each name in ``output_shape()``."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map."""
        channels, strides = self._out_feature_channels, self._out_feature_strides
        return {k: ShapeSpec(channels=channels[k], stride=strides[k]) for k in self._out_features}
