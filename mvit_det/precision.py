"""The precision that a model computes in, by the words that all commands and configs use.

Weights stay in float32; autocast converts what the matrix products and convolutions take.
"""

import logging
from argparse import ArgumentParser
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from mvit_det.errors import UserError
from mvit_det.kernels.cpu import has_fast_bfloat16

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def add_precision_flag(
    parser: ArgumentParser, default: str | None = "fp32", note: str = ""
) -> None:
    """Add ``--precision`` to a command line; `open_precision` checks its value."""
    parser.add_argument(
        "--precision",
        default=default,
        metavar="P",
        help="fp32; bf16, faster on CPUs with AVX-512 BF16 or AMX and on GPUs; or fp16, on GPUs; "
        f"default: fp32{note}",
    )


def open_precision(word: str, device: torch.device, title: str) -> torch.dtype:
    """Return the type of numbers of that name, if the device computes in it.

    Args:
        word: one of `PRECISIONS`.
        device: where the model runs.
        title: prefix of the word in the error message, such as "--precision ".

    Raises:
        UserError: there is no such precision, or not on this device.
    """
    if word not in PRECISIONS:
        raise UserError(f"{title}{word} is unknown: choose from {', '.join(PRECISIONS)}.")
    if word == "fp16" and device.type != "cuda":
        raise UserError(f"{title}fp16 needs CUDA, and the device is {device}: use bf16 or fp32.")
    if word == "bf16" and device.type not in ("cpu", "cuda"):
        raise UserError(f"{title}bf16 needs a CPU or CUDA, and the device is {device}: use fp32.")
    if word == "bf16" and device.type == "cpu" and not has_fast_bfloat16():
        logger.warning(
            "This CPU has neither AVX-512 BF16 nor AMX: bfloat16 works, but is slower than float32."
        )
    return PRECISIONS[word]


def autocast(dtype: torch.dtype | None, device: str | torch.device) -> AbstractContextManager[Any]:
    """Compute in ``dtype`` within a ``with`` block, where autocast deems it safe.

    Args:
        dtype: one of the values of `PRECISIONS`; nothing changes for float32 or None.
        device: of the model.
    """
    if dtype in (None, torch.float32):
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=dtype)


class InPrecision(nn.Module):
    """A model that is called within `autocast`; what uses its outputs is not.

    Args:
        model: its mode, training or evaluation, is kept.
        dtype: as for `autocast`.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.model = model
        self.dtype = dtype
        self.training = model.training

    def forward(self, *args: Any) -> Any:
        """Call the model."""
        device = next(self.model.parameters()).device
        with autocast(self.dtype, device):
            return self.model(*args)
