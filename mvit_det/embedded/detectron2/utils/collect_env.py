"""The versions and devices that a bug report needs."""

import importlib.metadata
import platform
import sys

import torch
from tabulate import tabulate

import detectron2

__all__ = ["collect_env_info"]

_PACKAGES = ("torch", "torchvision", "numpy", "fvcore", "iopath", "omegaconf", "hydra-core")
_PACKAGES += ("pycocotools", "faster-coco-eval", "Pillow")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def collect_env_info() -> str:
    """A table of the platform, the versions of what this host rests on, and the GPUs."""
    rows = [
        ("platform", platform.platform()),
        ("Python", sys.version.split()[0]),
        ("detectron2", f"{detectron2.__version__} @ {detectron2.__path__[0]}"),
    ]
    rows += [(package, _version(package)) for package in _PACKAGES]
    rows += [("CUDA of torch", torch.version.cuda or "none")]
    rows += [
        (f"GPU {i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())
    ] or [("GPU", "none")]
    return tabulate(rows)
