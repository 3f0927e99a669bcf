"""Write checkpoints whole or not at all, and load only those that fit the model."""

import logging
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm
from torch.utils._pytree import tree_leaves

from mvit_det.checkpoint import fit, read_weights
from mvit_det.checkpoint.fitting import Report
from mvit_det.checkpoint.inflation import check_inflation
from mvit_det.checkpoint.published import fetch
from mvit_det.errors import UserError, shorten_list
from mvit_det.files import atomic_file

logger = logging.getLogger(__name__)


class StrictCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes and strict loading; the file format is the same.

    Saving writes a temporary file and renames it, so a crash never leaves a partial checkpoint.
    Resuming takes the newest undamaged file. Loading accepts any published format, or the name of
    a published file, never runs code from it, logs what was used, and raises an error where the
    weights do not fit: a file to *start* from may lack heads or have heads for other classes, as
    in fine-tuning, but at least 90 % of the backbone's tensors must fit; a file to *evaluate* must
    fit completely; a file to *resume* from must fit without any change.

    Args:
        model: the module to save and load.
        save_dir: folder of the checkpoints; "" to save nothing.
        complete: whether every tensor of the model must be in the file.
        inflation: how image weights become clip weights (`mvit_det.checkpoint.inflation`).
        checkpointables: objects with ``state_dict`` and ``load_state_dict``, saved by name.
    """

    MIN_BACKBONE_SHARE = 0.9

    def __init__(
        self,
        model,
        save_dir: str = "",
        *,
        complete: bool = False,
        inflation: str = "centre",
        **checkpointables,
    ):
        check_inflation(inflation)
        super().__init__(model, save_dir, **checkpointables)
        self.inflation = inflation
        self.complete = complete
        self.unchanged = False  # whether nothing may be resized or inflated

    def save(self, name: str, *, tag: bool = True, **contents: Any) -> None:
        """Write ``name``.pth with the model, the checkpointables and ``contents``.

        Args:
            name: file name without suffix.
            tag: whether ``--resume`` continues from this file.
            **contents: further entries of the file; anything that ``torch.save`` takes.

        Raises:
            UserError: no space is left, or the weights are not finite; existing files stay
                untouched.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data.update({key: object_.state_dict() for key, object_ in self.checkpointables.items()})
        data.update(contents)
        path = Path(self.save_dir) / f"{name}.pth"
        bad = _non_finite_names(data["model"])
        if bad:
            raise UserError(
                f"Training has diverged: {path} is not written, since {shorten_list(bad, 3)} are "
                "not finite; lower optimizer.lr, and continue from the last checkpoint with "
                "--resume."
            )
        logger.info("Saving %s", path)
        try:
            with atomic_file(path) as partial, open(partial, "wb") as file:
                torch.save(data, file)
            if tag:
                self.tag_last_checkpoint(path.name)
        except (OSError, RuntimeError) as error:
            raise UserError(_write_failure(path, data, error)) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Record the file name that ``--resume`` continues from."""
        with atomic_file(os.path.join(self.save_dir, "last_checkpoint")) as partial:
            partial.write_text(last_filename_basename)

    def get_checkpoint_file(self) -> str:
        """Return the path of the newest undamaged checkpoint; "" if the folder has none.

        Raises:
            UserError: every checkpoint of the folder is damaged.
        """
        newest = _newest_intact(Path(self.save_dir)) if comm.is_main_process() else None
        path, damaged = comm.all_gather(newest)[0]  # all processes take the same file
        if damaged and comm.is_main_process():
            faults = shorten_list(damaged)
            if not path:
                raise UserError(
                    f"No checkpoint in {self.save_dir} can be read ({faults}): start without "
                    "--resume in another train.output_dir."
                )
            logger.warning("Skipped damaged checkpoints: %s; resuming from %s.", faults, path)
        return path

    def resume(self, path: str) -> dict[str, Any]:
        """Load a checkpoint of this run, which must fit unchanged; return the unused entries."""
        self.complete = self.unchanged = True
        return self.load(path)

    def load(self, path: str, checkpointables=None) -> dict[str, Any]:
        """Load as Detectron2 does, from any published format or by published name.

        Raises:
            UserError: the file cannot be read or does not fit (see the class).
        """
        self._source = path
        try:
            return super().load(fetch(path) if path else path, checkpointables)
        except UserError as error:
            if self.complete:
                raise
            hint = 'To start from random weights set train.init_checkpoint="".'
            raise UserError(f"{error} {hint}") from error

    def _load_file(self, filename: str) -> dict[str, Any]:
        weights = read_weights(filename)
        fitted = fit(weights, self.model.state_dict(), self.inflation)
        self._check_fit(fitted.report)
        bad = _non_finite_names(fitted.state)
        if bad:
            raise UserError(
                f"Checkpoint {self._source} holds values that are not finite, in "
                f"{shorten_list(bad, 3)}: it is damaged, or its training has diverged; use another."
            )
        if self.complete and fitted.report.zeroed:
            logger.warning(
                "%s was trained on images: inflated to clips without training, the model ignores "
                "the order of frames.",
                self._source,
            )
        return {**weights.companions, "model": fitted.state}

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        """Log nothing: the report of `_load_file` has the details."""

    def _check_fit(self, report: Report) -> None:
        wrong = report.mismatched | (report.resized | report.zeroed if self.unchanged else {})
        too_few = report.backbone_share < self.MIN_BACKBONE_SHARE
        if too_few or (self.complete and (report.missing or wrong)):
            raise UserError(
                f"Checkpoint {self._source} is for another architecture: {report.backbone_fitting} "
                f"of {len(report.backbone)} backbone tensors fit; missing: "
                f"{shorten_list(report.missing, 3) or 'none'}; unexpected: "
                f"{shorten_list(report.dropped, 3) or 'none'}; mismatched: "
                f"{shorten_list((f'{key} ({why})' for key, why in wrong.items()), 3) or 'none'}. "
                "Use the config that it was trained with, or another checkpoint."
            )
        logger.info("%s", report)


def checkpoint_fault(path: str | os.PathLike) -> str | None:
    """Describe the damage of a checkpoint file, from its zip checksums; None if it is intact."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return "missing" if not os.path.exists(path) else f"truncated or not a checkpoint ({error})"
    return f"checksum of {damaged} is wrong" if damaged else None


def _newest_intact(folder: Path) -> tuple[str, list[str]]:
    """Return the path of the checkpoint to resume from (or ""), and why others were skipped."""
    tag = folder / "last_checkpoint"
    tagged = tag.read_text().strip() if tag.exists() else ""
    files = [path for path in folder.glob("model_*.pth") if path.name != "model_best.pth"]
    files.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    if tagged:
        files = [folder / tagged, *(path for path in files if path.name != tagged)]
    damaged = [f"{tag} is empty"] if tag.exists() and not tagged else []
    for path in files:
        fault = checkpoint_fault(path)
        if fault is None:
            return str(path), damaged
        damaged.append(f"{path}: {fault}")
    return "", damaged


def _non_finite_names(weights: dict[str, torch.Tensor]) -> list[str]:
    """Name the tensors that hold an infinity or NaN."""
    # A sum is not finite if any element is not, and it needs no mask of the tensor's size.
    floats = {name: value for name, value in weights.items() if value.is_floating_point()}
    return [name for name, value in floats.items() if not value.double().sum().isfinite()]


def _write_failure(path: Path, data: dict[str, Any], error: Exception) -> str:
    needed = sum(x.nbytes for x in tree_leaves(data) if isinstance(x, torch.Tensor))
    free = shutil.disk_usage(path.parent).free
    reason = "no space is left on the device" if free < needed else str(error).split("\n")[0]
    return (
        f"Checkpoint {path} cannot be written: {reason} (it needs {needed / 2**20:.1f} MiB, and "
        f"{free / 2**20:.1f} MiB are free there); earlier checkpoints are kept, so make room and "
        "continue with --resume."
    )
