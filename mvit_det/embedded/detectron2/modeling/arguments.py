"""Arguments of a module's constructor that become its attributes."""

from typing import Any

from torch import nn


def keep_arguments(module: nn.Module, arguments: dict[str, Any], but: str = "") -> None:
    """Make attributes of what a constructor passes as ``locals()``, without the one named ``but``."""
    for name, value in arguments.items():
        if name not in ("self", "__class__", but):
            setattr(module, name, value)
