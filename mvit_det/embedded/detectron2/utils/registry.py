"""The registry class, and the look-up of a dotted path."""

from typing import Any

from fvcore.common.registry import Registry  # noqa: F401  used from here
from hydra.utils import get_object


def locate(name: str) -> Any:
    """Return the object at a dotted path, such as ``"torch.nn.Linear.forward"``.

    Raises:
        ImportError: the path leads to no object.
    """
    return get_object(name)
