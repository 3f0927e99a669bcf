"""Run a config file, whose relative imports run other config files."""

import builtins
import os
from types import ModuleType
from typing import Any

from omegaconf import DictConfig

from detectron2.utils.file_io import PathManager


def as_config(value: Any) -> Any:
    """Wrap a plain dict, so that a file that imports it can write ``optimizer.lr = 1``."""
    return DictConfig(value, flags={"allow_objects": True}) if isinstance(value, dict) else value


def run_file(path: str) -> dict[str, Any]:
    """Run the Python file at ``path`` and return its global names.

    ``from ..common.optim import optimizer`` runs ``../../common/optim.py`` afresh, so that the file
    may change what it imported without an effect on other configs.

    Raises:
        ImportError: a relative import does not lead to a file.
    """
    with PathManager.open(path, "rb") as file:
        code = compile(file.read(), path, "exec")

    def import_(name, globals=None, locals=None, fromlist=(), level=0):  # __import__'s signature
        if level:
            return _import_config(path, name, level)
        return builtins.__import__(name, globals, locals, fromlist, level)

    # A private copy: modules that the file imports keep the usual import.
    file_builtins = {**vars(builtins), "__import__": import_}
    scope = {"__name__": f"config {path}", "__file__": path, "__builtins__": file_builtins}
    exec(code, scope)
    return scope


def _import_config(importer: str, name: str, level: int) -> ModuleType:
    """Run the config at ``<level dots><name>``, relative to the file ``importer``."""
    dotted = "." * level + name
    if not name:
        raise ImportError(f"{importer}: configs can only import from files, not from {dotted!r}.")
    folder = os.path.join(os.path.dirname(importer), *[".."] * (level - 1))
    path = os.path.normpath(os.path.join(folder, *name.split("."))) + ".py"
    if not PathManager.isfile(path):
        raise ImportError(f"{importer} imports from {dotted}, but the file {path} does not exist.")
    module = ModuleType(dotted)
    for key, value in run_file(path).items():
        if not key.startswith("__"):
            setattr(module, key, as_config(value))
    module.__file__ = path
    return module
