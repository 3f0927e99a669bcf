"""The device of a run, as the user names it."""

import torch

from mvit_det.errors import UserError


def open_device(name: str | torch.device, title: str) -> torch.device:
    """Return the CPU or CUDA device of that name, after placing a tensor on it.

    Args:
        name: such as "cpu" or "cuda:0".
        title: prefix of the name in the error message, such as "train.device=".

    Raises:
        UserError: the device does not exist, does not work, or is of another type.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):  # what torch raises depends on how it was built
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        choices = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise UserError(f"{title}{name} cannot be used here: choose from {', '.join(choices)}.")
    return device
