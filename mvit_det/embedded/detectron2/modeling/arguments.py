"""Modules whose constructor arguments become attributes."""

from typing import TYPE_CHECKING, Any

from torch import nn


class ArgumentsModule(nn.Module):
    """A module with an attribute for each argument of its constructor."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # attributes are set by _set_arguments

    def _set_arguments(self, arguments: dict[str, Any], skip: str = "") -> None:
        """Set attributes from ``locals()`` of a constructor, without the argument ``skip``."""
        for name, value in arguments.items():
            if name not in ("self", "__class__", skip):
                setattr(self, name, value)
