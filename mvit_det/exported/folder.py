"""The folder of an exported model, and the model in it in place of a checkpoint."""

import hashlib
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mvit_det.errors import UserError, excerpt
from mvit_det.exported.formats import FILES
from mvit_det.exported.runtime import Run, open_runtime

MODEL_JSON = "model.json"
KEYS = ("format", "precision", "task", "inputs", "outputs", "categories", "preprocessing")


def is_export(path: str | os.PathLike | None) -> bool:
    """Return whether a path is a folder, which is no checkpoint."""
    return bool(path) and os.path.isdir(path or "")


def read_model_json(folder: Path) -> dict[str, Any]:
    """Read the description of an exported model.

    Raises:
        UserError: the folder is not that of an exported model, or a file is missing or damaged.
    """
    path = folder / MODEL_JSON
    if not path.is_file():
        raise UserError(
            f"{folder} has no {MODEL_JSON}: give a checkpoint, or a folder that "
            "`python -m mvit_det.export` wrote."
        )
    try:
        model = json.loads(path.read_text("utf-8"))
        lacking = [key for key in KEYS if key not in model]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({excerpt(error)}): export again.") from error
    if lacking or model["format"] not in FILES:
        what = f"lacks {', '.join(lacking)}" if lacking else f"has format={model['format']!r}"
        raise UserError(f"{path} {what}: export again with this version.")
    if not (folder / FILES[model["format"]]).is_file():
        raise UserError(f"{folder} lacks {FILES[model['format']]}: export again.")
    return model


class ExportedModel(nn.Module):
    """An exported model that takes and returns what the model of its task does.

    Args:
        folder: written by ``python -m mvit_det.export``.
        task: the task of the config, an object of `mvit_det.tasks`.
        precision: as asked for by the user; only "fp32", the default, leaves the model's own.
        device: as asked for by the user or the config; anything but a CPU is refused.

    Raises:
        UserError: the folder is not that of such a model, or is of another task, or does not
            compute in this precision or on this device.
    """

    identity: torch.Tensor

    def __init__(
        self,
        folder: str | os.PathLike,
        task: Any,
        precision: str = "fp32",
        device: str | None = None,
    ):
        super().__init__()
        self.description = read_model_json(Path(folder))
        own = self.description["precision"]
        if precision not in ("fp32", own):
            raise UserError(
                f"{folder} was exported in {own}, so the precision {precision} cannot be had: "
                f"leave it out, or export again with --precision {precision}."
            )
        if str(device or "cpu").partition(":")[0] != "cpu":
            raise UserError(
                f"{folder} is an exported model, which runs on the CPU: give the device cpu in "
                f"place of {device}."
            )
        if self.description["task"] != type(task).__name__:
            raise UserError(
                f"{folder} is an exported model of {self.description['task']}, but the config is "
                f"of {type(task).__name__}: give the folder or the config of the same task."
            )
        self.task = task
        outputs = self.description["outputs"]
        form = self.description["format"]
        self.run: Run = open_runtime(Path(folder), form, outputs)
        # what tells an interrupted test of this model from one of another
        self.register_buffer("identity", _digest(Path(folder) / FILES[form]))
        self.eval()

    def forward(self, batch: Any) -> Any:
        """Predict a batch as the model does in evaluation."""
        program = self.task.program
        ports = {k: tuple(port.values()) for k, port in self.description["inputs"].items()}
        inputs = [x.contiguous().cpu() for x in program.encode(batch, ports)]
        one = next(iter(ports.values()))[1].split(",")[0] == "1"
        if not one or len(inputs[0]) == 1:
            return program.decode(self.run(inputs), batch)
        if len(inputs) > 1:
            raise UserError(
                f"A batch of {len(inputs[0])} samples is too large for a model that was exported "
                "with --size, which takes one at a time: set the batch size to 1, or export it "
                "without --size."
            )
        rows = [self.run([row[None]]) for row in inputs[0]]
        return program.decode([torch.cat(parts) for parts in zip(*rows)], batch)

    @property
    def device(self) -> torch.device:
        """The device of inputs and outputs."""
        return torch.device("cpu")


def _digest(path: Path) -> torch.Tensor:
    """Compute the digest of a model and of the weights beside it as uint8 (32,)."""
    digest = hashlib.sha256()
    for file in sorted(path.parent.glob(f"{path.stem}.*")):
        with file.open("rb") as opened:
            for part in iter(partial(opened.read, 1 << 20), b""):
                digest.update(part)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
