"""Lazy configs: Python files that describe calls, which ``instantiate`` makes later."""

from .instantiate import instantiate
from .lazy import LazyCall, LazyConfig
