"""Read weight files without running anything that they hold."""

import os
import pickle
from typing import Any, BinaryIO

import torch

# What numpy arrays and scalars are pickled by, over numpy 1 and 2 and all pickle protocols.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Admits arrays and plain containers: a pickle can call any function that it may name."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")
        if (module, name) not in _ALLOWED:
            raise ValueError(f"It asks for {module}.{name}: only arrays are read from a .pkl file.")
        return super().find_class(module, name)


def _read_pkl(file: BinaryIO) -> dict[str, Any]:
    # latin1 reads the zoo's oldest files, which Python 2 wrote.
    content = _ArrayUnpickler(file, encoding="latin1").load()
    if not isinstance(content, dict) or "model" not in content:
        raise ValueError("It has no 'model' entry: convert Caffe2 weights to that form first.")
    return content


def _read_pyth(file: BinaryIO) -> dict[str, Any]:
    content = torch.load(file, map_location="cpu", weights_only=True)
    if "model_state" not in content:
        raise ValueError("A .pyth file must have a 'model_state', as those of pycls and mvit do.")
    return {"model": content["model_state"], "__author__": "pycls", "matching_heuristics": True}


def _read_pth(file: BinaryIO) -> dict[str, Any]:
    content = torch.load(file, map_location="cpu", weights_only=True)
    return content if "model" in content else {"model": content}


def read_weights(path: str) -> dict[str, Any]:
    """Read a ``.pkl``, ``.pyth``, or else ``.pth`` file: "model", and what else the file has.

    ValueError: the file is damaged, or holds what could run code, or has no weights.
    """
    readers = {".pkl": _read_pkl, ".pyth": _read_pyth}
    read = readers.get(os.path.splitext(path)[1], _read_pth)
    try:
        with open(path, "rb") as file:
            if file.peek(1)[:1] == b"<":
                raise ValueError("It is a web page: delete it, and download the checkpoint again.")
            return read(file)
    except (ValueError, TypeError, EOFError, pickle.UnpicklingError, RuntimeError) as error:
        # torch's own message goes on to recommend weights_only=False, which is the way to harm.
        lines = [line for line in str(error).splitlines() if "weights_only" not in line and line]
        reason = " ".join(lines) or type(error).__name__
        raise ValueError(f"Cannot read the checkpoint {path}. {reason}") from error
