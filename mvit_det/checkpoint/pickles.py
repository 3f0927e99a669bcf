"""Pickles read without running them.

A pickle is a program: it may name any function that can be imported, and call it. Here a name is
never looked up. Those few that build arrays are answered by functions of this module that can do
nothing else; all others end the reading, or become blank objects where the caller says so.

numpy's own functions will not do in their place: `numpy.dtype` takes flags from a file that make
addresses of numbers.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np


class Forbidden(Exception):
    """A pickle asks for a name that no array needs; the message is that name."""


class ArrayUnpickler(pickle.Unpickler):
    """Builds plain containers and arrays of numbers; `settled` takes these out of `PickledArray`.

    Raises:
        Forbidden: at the first other name in the file.
    """

    def __init__(self, file: BinaryIO):
        # latin1 keeps the bytes of arrays that Python 2 wrote as strings
        super().__init__(file, encoding="latin1")
        self.known = {**array_builders(), "collections.OrderedDict": OrderedDict}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.known[f"{module}.{name}"]
        except KeyError:
            raise Forbidden(f"{module.replace('__builtin__', 'builtins')}.{name}") from None


def blank_class() -> type:
    """A new class whose instances take whatever a pickle does to an object, and forget it."""

    def ignore(*_, **__):
        return None

    taken = ("__init__", "__setstate__", "__setitem__", "append", "extend", "add")
    methods = dict.fromkeys(taken, ignore)
    return type("Blank", (), {**methods, "__new__": lambda cls, *_, **__: object.__new__(cls)})


class PickledDtype:
    """What numpy.dtype is in a file: a kind of number and its byte order."""

    def __init__(self, spec: str, *_):
        if not re.fullmatch(r"[<>|=]?[biufc?]\d*", spec):
            raise pickle.UnpicklingError(f"an array of {spec!r} holds no numbers")
        self.kind = np.dtype(spec)

    def __setstate__(self, state: tuple) -> None:
        _, byte_order, *_ = state
        self.kind = self.kind.newbyteorder(byte_order)


class PickledArray:
    """What numpy.ndarray is in a file: ``array`` has the numbers in their arrangement."""

    array: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        *_, shape, dtype, columns_first, content = state  # before them, a version
        self.array = array_of(content, dtype, shape, "F" if columns_first else "C")


def array_of(content: bytes | str, dtype: PickledDtype, shape: tuple, order: str) -> np.ndarray:
    """The array of some bytes, whose memory it shares, or of a string of Python 2."""
    content = content.encode("latin1") if isinstance(content, str) else content
    if 0 in shape:
        return np.zeros(shape, dtype.kind)
    return np.frombuffer(content, dtype.kind).reshape(shape, order=order)


def array_builders() -> dict[str, Callable]:
    """What a pickle of numpy arrays calls, by name.

    They are made anew for every file, for a pickle may set attributes of functions.
    """
    of_numpy = {
        "multiarray._reconstruct": lambda *_: PickledArray(),
        "multiarray.scalar": lambda dtype, content: array_of(content, dtype, (1,), "C")[0],
        "numeric._frombuffer": lambda *arguments: array_of(*arguments),
    }
    cores = ("numpy.core", "numpy._core")  # before numpy 2, and since
    return {
        "numpy.ndarray": PickledArray,
        "numpy.dtype": PickledDtype,
        # how protocols up to 2 write bytes, and none of them
        "_codecs.encode": lambda text, *_: text.encode("latin1"),
        **dict.fromkeys(("__builtin__.bytes", "builtins.bytes"), lambda: b""),
        **{f"{core}.{name}": build for core in cores for name, build in of_numpy.items()},
    }


def settled(content: Any) -> Any:
    """The same with numpy's arrays in place of pickled ones."""
    if isinstance(content, PickledArray):
        return content.array
    if type(content) in (dict, OrderedDict):
        return {key: settled(value) for key, value in content.items()}
    return type(content)(map(settled, content)) if type(content) in (list, tuple) else content
