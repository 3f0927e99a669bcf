"""Pickles read without running them.

A pickle is a program: it may name any function that can be imported, and call it. Here a name is
never looked up. Those few that build arrays are answered by functions of this module that can do
nothing else; all others end the reading, or become blank objects where the caller says so.
"""

import _compat_pickle
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mvit_det.errors import UserError


class Forbidden(Exception):
    """A pickle asks for a name that no array needs."""


class ArrayUnpickler(pickle.Unpickler):
    """Builds arrays of numbers and plain containers.

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
            raise Forbidden(f"{module}.{name}") from None


class _Lister(pickle.Unpickler):
    """Notes all names, as Python 3 calls them, and builds blank objects only."""

    def __init__(self, file: BinaryIO, names: list[str]):
        super().__init__(file, encoding="latin1")
        self.names = names
        self.blank = blank_class()

    def find_class(self, module: str, name: str) -> type:
        modern = _compat_pickle.IMPORT_MAPPING.get(module, module), name
        self.names.append(".".join(_compat_pickle.NAME_MAPPING.get((module, name), modern)))
        return self.blank

    def persistent_load(self, pid: Any) -> Any:
        return self.blank()


def names_asked_for(file: BinaryIO, count: int = 1) -> list[str]:
    """All names that the next ``count`` pickles of a file would import, in order.

    Where the file is damaged, those before the damage.
    """
    names: list[str] = []
    for _ in range(count):
        lister = _Lister(file, names)
        try:
            lister.load()
        except Exception:  # whoever reads the file next says what is wrong with it
            break
    return names


def refusal(path: Path, name: str) -> UserError:
    """The sentence for a file that asks for more than weights need."""
    return UserError(
        f"{path} is refused: it asks for {name}, by which it could run code of whoever made it, and "
        "weights need nothing but arrays, containers, strings and numbers; take them from their "
        "publisher, or save the state_dict alone."
    )


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
        # NOTE: numpy's own takes more from it, flags that turn numbers into addresses among them.
        _, byte_order, *_ = state
        self.kind = self.kind.newbyteorder(byte_order)


class PickledArray:
    """What numpy.ndarray is in a file: numbers and their arrangement."""

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
    """What a pickle of numpy arrays calls, by name; `settled` puts arrays in the place of results.

    They are made anew for every file, for a pickle may set attributes of functions.
    """

    def reconstruct(*_):
        return PickledArray()

    def scalar(dtype, content):
        return array_of(content, dtype, (1,), "C")[0]

    def encode(text, *_):
        return text.encode("latin1")  # how protocols up to 2 write bytes

    def no_bytes():
        return b""

    known: dict[str, Callable] = {
        "numpy.ndarray": PickledArray,
        "numpy.dtype": PickledDtype,
        "_codecs.encode": encode,
        "__builtin__.bytes": no_bytes,
        "builtins.bytes": no_bytes,
    }
    for core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
        known[f"{core}.multiarray._reconstruct"] = reconstruct
        known[f"{core}.multiarray.scalar"] = scalar
        known[f"{core}.numeric._frombuffer"] = array_of
    return known


def settled(content: Any) -> Any:
    """The same with numpy's arrays in place of pickled ones."""
    if isinstance(content, PickledArray):
        return content.array
    if isinstance(content, PickledDtype):
        return content.kind
    if type(content) in (dict, OrderedDict):
        return {key: settled(value) for key, value in content.items()}
    if type(content) in (list, tuple):
        return type(content)(map(settled, content))
    return content
