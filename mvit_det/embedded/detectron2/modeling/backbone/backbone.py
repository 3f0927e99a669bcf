"""The face that every backbone shows to a detector."""

from abc import ABCMeta, abstractmethod

import torch
from torch import nn

from detectron2.layers import ShapeSpec


class Backbone(nn.Module, metaclass=ABCMeta):
    """Maps (N, 3, H, W) to named feature maps.

    A subclass sets ``_out_features`` (names, finest first), ``_out_feature_channels`` and
    ``_out_feature_strides`` (dicts by name), or overrides ``output_shape``.
    """

    @abstractmethod
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return (N, C, H / stride, W / stride) for each name in ``output_shape()``."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of it; 0: any size will do."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """More about padding, as ``ImageList.from_tensors`` takes it."""
        return {}
