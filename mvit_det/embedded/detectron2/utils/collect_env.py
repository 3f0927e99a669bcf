"""The versions and devices that a bug report needs."""

import platform

import fvcore
import numpy
import omegaconf
import torch
import torchvision
from tabulate import tabulate

import detectron2


def collect_env_info() -> str:
    """Return a table of the platform, the versions of the libraries, and the GPUs."""
    rows = {"platform": platform.platform(), "Python": platform.python_version()}
    for module in (detectron2, torch, torchvision, numpy, fvcore, omegaconf):
        rows[module.__name__] = f"{module.__version__} @ {module.__path__[0]}"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return tabulate({**rows, "CUDA of torch": torch.version.cuda, "GPUs": names or "none"}.items())
