"""Names to objects: the registry class, and the look-up of a dotted path."""

import importlib
from functools import reduce
from typing import Any

from fvcore.common.registry import Registry

__all__ = ["Registry", "locate"]


def locate(name: str) -> Any:
    """Return the object at a dotted path such as ``"torch.nn.Linear.forward"``.

    Raises:
        ImportError: no prefix of ``name`` is a module that holds the rest.
    """
    parts = name.split(".")
    # The last part is an attribute, even where a module has its name too (`config.instantiate`).
    for split in range(max(len(parts) - 1, 1), 0, -1):
        module_name = ".".join(parts[:split])
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # A module that exists but lacks a dependency of its own is not a wrong path.
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            continue
        try:
            return reduce(getattr, parts[split:], module)
        except AttributeError as error:
            raise ImportError(f"Cannot find {name!r}: {error}.") from error
    raise ImportError(f"Cannot find {name!r}: there is no module named {parts[0]!r}.")
