"""Raise errors that say where to get the real Detectron2, for every name that this host lacks."""

import dis
import sys
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_INSTALLATION = "https://detectron2.readthedocs.io/tutorials/install.html"
# What `from module import name`, `module.name` and `module.name()` are compiled to.
_DIRECT_USE = {"IMPORT_FROM", "LOAD_ATTR", "LOAD_METHOD"}


def _message(name: str) -> str:
    return (
        f"The embedded host, which serves `import detectron2` here, lacks {name}: if Detectron2 "
        f"has it, install the real one, which then is used instead ({_INSTALLATION})."
    )


def _getattr(module: str, name: str) -> Any:
    """Raise ImportError where source code names what the module lacks.

    hasattr(), getattr() with a default, inspection and pickling need an AttributeError, and no
    class can be both. What asked is seen by the instruction that the caller is at.
    """
    if name.startswith("__"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    caller = sys._getframe(1)
    instruction = dis.opname[caller.f_code.co_code[caller.f_lasti]]
    kind = ImportError if instruction in _DIRECT_USE else AttributeError
    raise kind(_message(f"{module}.{name}"), name=name)


def _create_module(spec: ModuleSpec) -> ModuleType:
    module = ModuleType(spec.name)
    module.__getattr__ = partial(_getattr, spec.name)
    return module


class _Finder:
    """Finds the modules of this host, and raises ModuleNotFoundError for all others."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith("detectron2."):
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None:
            spec.loader.create_module = _create_module
            return spec
        # importlib.util.find_spec only asks: None is its answer.
        asked = sys._getframe(2).f_globals["__name__"] == "importlib.util"
        if asked or fullname.rpartition(".")[2].startswith("__"):
            return None
        raise ModuleNotFoundError(_message(fullname), name=fullname)


def install(package: ModuleType) -> None:
    """Let ``package`` and every module in it raise these errors."""
    package.__getattr__ = partial(_getattr, package.__name__)
    sys.meta_path.insert(0, _Finder)
