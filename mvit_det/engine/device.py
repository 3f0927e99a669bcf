"""The device of a run, as the user names it."""

import logging
import os

import torch

from mvit_det.errors import UserError

logger = logging.getLogger(__name__)


def open_device(name: str | torch.device, title: str) -> torch.device:
    """Return the device of that name, after placing a tensor on it.

    Args:
        name: such as "cpu", "cuda:0" or "mps".
        title: prefix of the name in the error message, such as "train.device=".

    Raises:
        UserError: the device does not exist, does not work, or is of another type.
    """
    mps = ["mps"] if torch.backends.mps.is_available() else []
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):  # what torch raises depends on how it was built
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", *mps):
        cuda = (f"cuda:{number}" for number in range(torch.cuda.device_count()))
        choices = ", ".join(["cpu", *cuda, *mps])
        raise UserError(f"{title}{name} cannot be used here: choose from {choices}.")
    if device.type == "mps":
        fallback = os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1"
        logger.info(
            "MPS, the GPU of this Mac, has not been tested: it trains in one process and in "
            "float32, and what PyTorch lacks for it %s.",
            "runs on the CPU" if fallback else "fails (set PYTORCH_ENABLE_MPS_FALLBACK=1)",
        )
    return device
