"""Raise errors that point to the real Detectron2, for every name that this host lacks."""

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
    """Raise ImportError where source code names an attribute that the module lacks.

    hasattr(), getattr() with a default, inspection and pickling need an AttributeError, and no
    class can be both. The current instruction of the caller distinguishes the two cases.
    """
    if name.startswith("__"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    caller = sys._getframe(1)
    instruction = dis.opname[caller.f_code.co_code[caller.f_lasti]]
    kind = ImportError if instruction in _DIRECT_USE else AttributeError
    raise kind(_message(f"{module}.{name}"), name=name)


def _create_module(spec: ModuleSpec) -> ModuleType:
    module = ModuleType(spec.name)
    vars(module)["__getattr__"] = partial(_getattr, spec.name)
    return module


class _Finder:
    """Find the modules of this host, and raise ModuleNotFoundError for all others."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module of this host; None for all that is not ``detectron2.*``."""
        if not fullname.startswith("detectron2."):
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None:
            vars(spec.loader)["create_module"] = _create_module
            return spec
        # importlib.util.find_spec only queries: it expects None for a missing module.
        is_query = sys._getframe(2).f_globals["__name__"] == "importlib.util"
        if is_query or fullname.rpartition(".")[2].startswith("__"):
            return None
        raise ModuleNotFoundError(_message(fullname), name=fullname)


def install(package: ModuleType) -> None:
    """Let ``package`` and every module in it raise these errors."""
    vars(package)["__getattr__"] = partial(_getattr, package.__name__)
    sys.meta_path.insert(0, _Finder)
