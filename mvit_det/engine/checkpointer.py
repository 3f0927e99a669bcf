"""Write checkpoints whole or not at all, and load only those that fit the model."""

import logging
import math
import os
import pickle
import re
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
from mvit_det.checkpoint.reading import is_compressed
from mvit_det.errors import UserError, check_choice, shorten_list
from mvit_det.files import atomic_file

logger = logging.getLogger(__name__)

FINAL = "model_final.pth"
_STATE = re.compile(r"model_(?:(\d+)|final)\.pth")  # not model_best.pth, which holds weights alone


class StrictCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes and strict loading; the file format is the same.

    Saving writes a temporary file and renames it, so a crash never leaves a partial checkpoint.
    Resuming takes the file that the pointer ``last_checkpoint`` names or, if that is not a state of
    the training, the undamaged one of the latest iteration. Loading accepts any published format,
    or the name of a published file, never runs code from it, logs what was used, and raises an
    error where the weights do not fit: a file to *start* from may lack heads or have heads for
    other classes, as in fine-tuning, but at least 90 % of the backbone's tensors must fit; a file
    to *evaluate* must fit completely; a file to *resume* from must fit without any change.

    Args:
        model: the module to save and load.
        save_dir: folder of the checkpoints; "" to save nothing.
        complete: whether every tensor of the model must be in the file.
        inflation: how image weights become clip weights (`mvit_det.checkpoint.inflation`).
        ema: whether to load the moving average of the weights, where a file has one beside them.
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
        ema: bool = True,
        **checkpointables,
    ):
        check_inflation(inflation)
        check_choice("train", (True, False), init_ema=ema)
        super().__init__(model, save_dir, **checkpointables)
        self.inflation = inflation
        self.complete = complete
        self.ema = ema
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
            if "DataLoader worker" in str(error):  # torch reports the end of one at any statement
                raise
            raise UserError(_write_failure(path, data, error)) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Record the file name that ``--resume`` continues from."""
        with atomic_file(os.path.join(self.save_dir, "last_checkpoint")) as partial:
            partial.write_text(last_filename_basename, "utf-8")

    def get_checkpoint_file(self) -> str:
        """Return the path of the undamaged checkpoint to resume from; "" if the folder has none.

        Raises:
            UserError: every checkpoint of the folder is damaged.
        """
        newest = None
        if comm.is_main_process():
            newest = _newest_intact(Path(self.save_dir), set(self.checkpointables))
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

    def complete_final(self, path: str) -> None:
        """Copy the last checkpoint to model_final.pth if a kill has prevented that.

        Args:
            path: the checkpoint to resume from, after which no iteration is left.
        """
        final = Path(self.save_dir) / FINAL
        if not comm.is_main_process() or Path(path) == final:
            return
        if checkpoint_fault(final) or iteration_of(final) < iteration_of(Path(path)):
            logger.info("Saving %s, a copy of %s", final, path)
            with atomic_file(final) as partial:
                shutil.copyfile(path, partial)
            self.tag_last_checkpoint(FINAL)

    def resume(self, path: str) -> dict[str, Any]:
        """Load a checkpoint of this run, which must fit unchanged; return the unused entries."""
        self.complete = self.unchanged = True
        self.ema = False
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
        weights = read_weights(filename, average=self.ema)
        fitted = fit(weights, self.model.state_dict(), self.inflation)
        self._check_fit(fitted.report)
        if weights.average and not self.unchanged:
            logger.info(
                "%s: taking %s (train.init_ema=%s).",
                *(self._source, weights.average, str(self.ema).lower()),
            )
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
        if self.complete and report.other_classes:
            file, model = report.other_classes
            raise UserError(
                f"Checkpoint {self._source} has {file} classes and the model {model}, and all else "
                "fits: use the config that it was trained with, or train from it "
                f"(train.init_checkpoint) for these {model} classes first."
            )
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
            if is_compressed(archive, path):
                return "compressed, as no checkpoint is"
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return "missing" if not os.path.exists(path) else f"truncated or not a checkpoint ({error})"
    return f"checksum of {damaged} is wrong" if damaged else None


def _newest_intact(folder: Path, parts: set[str]) -> tuple[str, list[str]]:
    """Return the path of the checkpoint to resume from (or ""), and why others were skipped.

    Args:
        folder: of the run.
        parts: entries of a checkpoint that training continues with.
    """
    pointer, skipped = folder / "last_checkpoint", []
    files = [path for path in folder.glob("model_*.pth") if _STATE.fullmatch(path.name)]
    # by iteration: a copied folder has other dates
    files.sort(key=iteration_of, reverse=True)
    if pointer.exists():
        try:
            name = pointer.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            name = ""
        tagged = [path for path in files if path.name == name]
        files = tagged + [path for path in files if path.name != name]
        if not tagged:
            skipped = [f"{pointer} names {name[:80]!r}, which is missing or no state of a training"]
    for path in files:
        fault = checkpoint_fault(path) or _fault_of_content(path, parts)
        if fault is None:
            return str(path), skipped
        skipped.append(f"{path}: {fault}")
    return "", skipped


def _content(path: Path) -> Any:
    """Return what a checkpoint holds, with tensors left on disk; None if it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return None


def iteration_of(path: Path) -> float:
    """Return the iteration of a checkpoint; infinity if unknown, so that the fault is reported."""
    name = _STATE.fullmatch(path.name)
    if name and name[1]:
        return int(name[1])
    content = _content(path)
    iteration = content.get("iteration") if isinstance(content, dict) else None
    return iteration if isinstance(iteration, int) else math.inf


def _fault_of_content(path: Path, parts: set[str]) -> str | None:
    """Describe why a run cannot resume from an undamaged checkpoint; None if it can."""
    content = _content(path) if parts else {}
    if not isinstance(content, dict):
        return "not a checkpoint"
    if missing := sorted(parts - content.keys()):
        return f"no state of {', '.join(missing)}: weights alone"
    # as Detectron2 writes them after a training has diverged
    bad = _non_finite_names(content.get("model", {}))
    return f"{shorten_list(bad, 3)} are not finite" if bad else None


def _non_finite_names(weights: dict[str, torch.Tensor]) -> list[str]:
    """Name the tensors that hold an infinity or NaN."""
    # A sum is not finite if any element is not, and it needs no mask of the tensor's size.
    floats = {name: value for name, value in weights.items() if value.is_floating_point()}
    # MPS has no float64
    on_cpu = ((name, value.cpu() if value.is_mps else value) for name, value in floats.items())
    return [name for name, value in on_cpu if not value.double().sum().isfinite()]


def _write_failure(path: Path, data: dict[str, Any], error: Exception) -> str:
    needed = sum(x.nbytes for x in tree_leaves(data) if isinstance(x, torch.Tensor))
    free = shutil.disk_usage(path.parent).free
    reason = "no space is left on the device" if free < needed else str(error).split("\n")[0]
    return (
        f"Checkpoint {path} cannot be written: {reason} (it needs {needed / 2**20:.1f} MiB, and "
        f"{free / 2**20:.1f} MiB are free there); earlier checkpoints are kept, so make room and "
        "continue with --resume."
    )
