"""Read pickles without executing them.

A pickle is a program: it may name any importable function and call it. Here a name is never
imported. The few names that build arrays map to functions of this module that can do nothing else;
any other name ends the reading, or becomes a blank object if the caller allows it.

numpy's own functions are not safe here: `numpy.dtype` accepts flags from the file that turn
numbers into memory addresses.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, Literal

import numpy as np

Order = Literal["C", "F"]


class Forbidden(Exception):
    """A pickle refers to a name that arrays do not need; the message is that name."""


class ArrayUnpickler(pickle.Unpickler):
    """Build plain containers and `PickledArray`, which `replace_arrays` turns into numpy arrays.

    Raises:
        Forbidden: at the first other name in the file.
    """

    def __init__(self, file: BinaryIO):
        # latin1 keeps the bytes of arrays that Python 2 wrote as strings
        super().__init__(file, encoding="latin1")
        self.known = {**array_builders(), "collections.OrderedDict": OrderedDict}

    def find_class(self, module: str, name: str) -> Any:
        """Map a name of the file to its safe replacement, without importing it.

        Raises:
            Forbidden: there is no replacement.
        """
        try:
            return self.known[f"{module}.{name}"]
        except KeyError:
            raise Forbidden(f"{module.replace('__builtin__', 'builtins')}.{name}") from None


def blank_class() -> type:
    """Create a class whose instances ignore everything that a pickle does to an object."""

    def ignore(*_, **__):
        return None

    names = ("__init__", "__setstate__", "__setitem__", "append", "extend", "add")
    methods = dict.fromkeys(names, ignore)
    return type("Blank", (), {**methods, "__new__": lambda cls, *_, **__: object.__new__(cls)})


class PickledDtype:
    """Stand-in for numpy.dtype in a file: a kind of number and its byte order.

    Raises:
        UnpicklingError: ``spec`` is not a plain number, e.g. an object or a record.
    """

    def __init__(self, spec: str, *_):
        if not re.fullmatch(r"[<>|=]?[biufc?]\d*", spec):
            raise pickle.UnpicklingError(f"an array of {spec!r} does not hold numbers")
        self.kind = np.dtype(spec)

    def __setstate__(self, state: tuple) -> None:
        _, byte_order, *_ = state
        self.kind = self.kind.newbyteorder(byte_order)


class PickledArray:
    """Stand-in for numpy.ndarray in a file; ``array`` is the numpy array."""

    array: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        *_, shape, dtype, columns_first, content = state  # before them, a version
        self.array = array_of(content, dtype, shape, "F" if columns_first else "C")


def array_of(content: bytes | str, dtype: PickledDtype, shape: tuple, order: Order) -> np.ndarray:
    """Build an array from bytes, sharing their memory, or from a latin1 string of Python 2.

    Args:
        content: the numbers, in memory order.
        dtype: kind and byte order of the numbers.
        shape: of the result.
        order: "C" for rows first, "F" for columns first.
    """
    content = content.encode("latin1") if isinstance(content, str) else content
    if 0 in shape:
        return np.zeros(shape, dtype.kind)
    return np.frombuffer(content, dtype.kind).reshape(shape, order=order)


def array_builders() -> dict[str, Callable]:
    """Map the names that a pickle of numpy arrays calls to safe functions.

    The functions are created anew for every file, since a pickle may set their attributes.
    """
    numpy_functions: dict[str, Callable] = {
        "multiarray._reconstruct": lambda *_: PickledArray(),
        "multiarray.scalar": lambda dtype, content: array_of(content, dtype, (1,), "C")[0],
        "numeric._frombuffer": lambda *arguments: array_of(*arguments),
    }
    cores = ("numpy.core", "numpy._core")  # before numpy 2, and since
    return {
        "numpy.ndarray": PickledArray,
        "numpy.dtype": PickledDtype,
        # how protocols up to 2 write bytes, and empty bytes
        "_codecs.encode": lambda text, *_: text.encode("latin1"),
        **dict.fromkeys(("__builtin__.bytes", "builtins.bytes"), lambda: b""),
        **{f"{core}.{name}": build for core in cores for name, build in numpy_functions.items()},
    }


def replace_arrays(content: Any) -> Any:
    """Replace every `PickledArray` in nested containers by its numpy array."""
    if isinstance(content, PickledArray):
        return content.array
    if type(content) in (dict, OrderedDict):
        return {key: replace_arrays(value) for key, value in content.items()}
    kept = type(content) not in (list, tuple)
    return content if kept else type(content)(map(replace_arrays, content))
