"""What one module tells the next about its output before there is any tensor."""

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """The facts known about a feature map.

    ``stride`` is in input pixels per cell; ``height`` and ``width`` are in cells, where fixed.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
