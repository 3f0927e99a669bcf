"""Objects to dotted paths, which another process can turn back into the objects."""

import sys
from functools import reduce
from itertools import accumulate
from typing import Any


def dotted_path(thing: Any) -> str:
    """The shortest path of a class or function: ``torch.nn.Linear``, not where it is defined.

    A shorter path outlives a move of the defining file. Where no path leads to ``thing`` (a
    lambda, a function inside a function), its qualified name is returned all the same.
    """
    module = getattr(thing, "__module__", None) or type(getattr(thing, "__self__", None)).__module__
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    for package in accumulate(module.split("."), "{}.{}".format):
        try:
            found = reduce(getattr, name.split("."), sys.modules[package])
        except (AttributeError, KeyError):
            continue
        if found == thing:
            return f"{package}.{name}"
    return f"{module}.{name}"
