"""The interface between backbones and detectors, and the registry of backbones."""

from abc import ABCMeta, abstractmethod

import torch
from torch import nn

from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

BACKBONE_REGISTRY = Registry("BACKBONE")


class Backbone(nn.Module, metaclass=ABCMeta):
    """Base class of networks that map (N, 3, H, W) to named feature maps.

    A subclass sets ``_out_features`` (names, finest first), ``_out_feature_channels`` and
    ``_out_feature_strides`` (dicts by name). Heights and widths of its inputs must be multiples
    of ``size_divisibility``; 0 allows any size.
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    size_divisibility: int = 0

    @abstractmethod
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return (N, C, H / stride, W / stride) for each name in ``output_shape()``."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return the channels and the stride of each feature map."""
        channels, strides = self._out_feature_channels, self._out_feature_strides
        return {k: ShapeSpec(channels=channels[k], stride=strides[k]) for k in self._out_features}
