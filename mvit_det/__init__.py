"""MViTv2 (Li et al., CVPR 2022) for detection and recognition, as a plugin of Detectron2.

Importing this package makes ``import detectron2`` work. The real Detectron2 is used if it is
installed; otherwise the embedded host, this project's implementation of the part of Detectron2's
API that it uses, is appended to ``sys.path``. Nothing is patched and nothing is shadowed.

Set the environment variable ``MVIT_DET_HOST=embedded`` to use the embedded host even where the real
one is installed (``MVIT_DET_HOST=real`` refuses to fall back).
"""

import importlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvit_det.api import build, get_config
    from mvit_det.config_names import list_configs

__all__ = ["__version__", "build", "get_config", "host", "list_configs"]
__version__ = "0.1.0"

_LAZY = {
    "build": "mvit_det.api",
    "get_config": "mvit_det.api",
    "list_configs": "mvit_det.config_names",
}
_EMBEDDED = str(Path(__file__).resolve().parent / "embedded")

# fvcore and torchvision still call torch.jit when they are imported, which users of this package
# cannot change.
warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)


# PyTorch reads these when it is imported. What it lacks for the GPU of a Mac runs on the CPU.
if sys.platform == "darwin":
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
# Linux maps a tensor above 32 MB anew at each use; with large pages in a fifth of the time.
if sys.platform == "linux":
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _select_host() -> None:
    choice = os.environ.get("MVIT_DET_HOST", "")
    if choice not in ("", "real", "embedded"):
        raise ImportError(
            f"MVIT_DET_HOST={choice!r} is unknown: use 'real', 'embedded', or leave it unset."
        )
    if choice == "embedded":
        if "detectron2" in sys.modules and host() != "embedded":
            raise ImportError(
                "MVIT_DET_HOST=embedded is set too late: detectron2 is already imported; "
                "import mvit_det first."
            )
        if _EMBEDDED not in sys.path:
            sys.path.insert(0, _EMBEDDED)
    # find_spec, not try/import: a real Detectron2 that is installed but broken must fail loudly.
    elif importlib.util.find_spec("detectron2") is None:
        if choice == "real":
            raise ImportError(
                "MVIT_DET_HOST=real, but Detectron2 is not installed: install it as its "
                "INSTALL.md describes, or unset MVIT_DET_HOST to use the embedded host."
            )
        sys.path.append(_EMBEDDED)


def host() -> str:
    """Return "real" or "embedded": which Detectron2 ``import detectron2`` finds."""
    spec = importlib.util.find_spec("detectron2")
    return "embedded" if spec and spec.origin and spec.origin.startswith(_EMBEDDED) else "real"


def __getattr__(name: str) -> Any:
    """Import lazily what needs PyTorch, so that ``import mvit_det`` stays fast."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_select_host()
