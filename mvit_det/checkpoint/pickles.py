"""Read pickles without executing them.

A pickle is a program: it may name any importable function and call it. Here a name is never
imported. The few names that build arrays map to functions of this module that can do nothing else;
any other name ends the reading, or becomes a blank object if the caller allows it.

numpy's own functions are not safe here: `numpy.dtype` accepts flags from the file that turn
numbers into memory addresses.
"""

import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, BinaryIO, Literal

import numpy as np

Order = Literal["C", "F"]
MAX_ITEMS = 10**5  # of a tuple and its tuples, counted as often as they occur
MEMO_GAP = 1000  # Python numbers what it remembers without gaps; some old files skip a few


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
    """Replace every `PickledArray` in nested containers by its numpy array, in place.

    Each container is visited once: a few bytes can describe lists that hold each other so often
    that visiting them from each place they are in would never end.
    """
    replaced: dict[int, Any] = {}

    def visit(item: Any) -> Any:
        if isinstance(item, PickledArray):
            return item.array
        if type(item) not in (dict, OrderedDict, list, tuple):
            return item
        if id(item) not in replaced:
            replaced[id(item)] = item
            if isinstance(item, tuple):
                replaced[id(item)] = tuple(map(visit, item))
            else:
                pairs = item.items() if isinstance(item, dict) else enumerate(item)
                for key, value in list(pairs):
                    item[key] = visit(value)
        return replaced[id(item)]

    return visit(content)


def scan(file: IO[bytes]) -> tuple[int, bool]:
    """Find the end of a pickle, or where it is damaged, without running it.

    It also checks that reading takes time and memory in proportion to these bytes. Two instructions
    could take more: to remember an object at a high number, for which a table of that length is
    made, and to look up a tuple whose items are shared tuples of shared tuples.

    Args:
        file: at the beginning of the pickle; afterwards at its end, unless it is damaged.

    Returns:
        The position in the file, in bytes, and whether it is the end.

    Raises:
        UnpicklingError: reading would take more.
    """
    sound, objects = file.tell(), _Objects()
    try:
        for instruction, argument, position in pickletools.genops(file):
            sound = position or 0
            objects.follow(instruction, argument)
    except (ValueError, LookupError, TypeError):
        return sound, False
    return file.tell(), True


class _Objects:
    """The objects on the stack and in the memo of a pickle, each as its number of items."""

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.marks: list[int] = []  # lengths of the stack
        self.memo: dict[int, int] = {}

    def follow(self, instruction: pickletools.OpcodeInfo, argument: Any) -> None:
        """Follow one instruction; an error of lookup means that the pickle is damaged."""
        name, stack = instruction.name, self.stack
        if name in _REMEMBER:
            number = len(self.memo) if name == "MEMOIZE" else argument
            if number > 2 * len(self.memo) + MEMO_GAP:
                raise pickle.UnpicklingError(f"it remembers an object as number {number}")
            self.memo[number] = stack[-1]
        elif name in _RECALL:
            stack.append(self.memo[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name == "POP" and self.marks and self.marks[-1] == len(stack):
            self.marks.pop()
        else:
            self._replace(name, instruction.stack_before, len(instruction.stack_after))

    def _replace(self, name: str, taken: list, given: int) -> None:
        """Take what an instruction uses from the stack, and put its result there."""
        start, below = len(self.stack), len(taken)
        if pickletools.markobject in taken:
            start, below = self.marks.pop(), taken.index(pickletools.markobject)
        start -= below
        if start < 0:
            raise LookupError("nothing is on the stack")
        items = self.stack[start:]
        del self.stack[start:]
        size = 1 + sum(items) if "TUPLE" in name or name == "FROZENSET" else 1
        if size > MAX_ITEMS:
            raise pickle.UnpicklingError("it holds tuples within tuples, of too many items in all")
        if name in _CHANGE:
            size = items[0]  # the object that is changed, or not even that
        self.stack += [size] * given


_REMEMBER = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_RECALL = {"GET", "BINGET", "LONG_BINGET"}
_CHANGE = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}
