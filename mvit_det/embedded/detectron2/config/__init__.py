"""Configs as Python files: calls that are described first and made later."""

from .instantiate import instantiate
from .lazy import LazyCall, LazyConfig
