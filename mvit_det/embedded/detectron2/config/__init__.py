"""Configs as Python files: calls that are described first and made later."""

from detectron2.config.instantiate import instantiate
from detectron2.config.lazy import LazyCall, LazyConfig

__all__ = ["instantiate", "LazyCall", "LazyConfig"]
