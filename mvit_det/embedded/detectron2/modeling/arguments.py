"""Arguments of a module's constructor that become its attributes."""

from typing import Any

from torch import nn


def keep_arguments(module: nn.Module, arguments: dict[str, Any], but: str = "") -> None:
    """Set attributes from what a constructor passes as ``locals()``, but for one of them."""
    for name, value in arguments.items():
        if name not in ("self", "__class__", but):
            setattr(module, name, value)
