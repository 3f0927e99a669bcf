"""A checkpointer that refuses weights of another network instead of training on what is left."""

import os
from collections.abc import Iterable
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer

from mvit_det.errors import UserError


class StrictCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer; loading ends in an error where the weights do not fit.

    A file to *start* from may lack heads, or bring heads for other classes: that is what
    fine-tuning is. But at least 90 % of the backbone's tensors must fit. A file to *evaluate* or to
    *resume* must fit completely.

    Args:
        complete: whether every tensor of the model must be in the file.
    """

    MIN_BACKBONE_SHARE = 0.9

    def __init__(self, model, save_dir: str = "", *, complete: bool = False, **checkpointables):
        super().__init__(model, save_dir, **checkpointables)
        self.complete = complete

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """As in Detectron2, where a resumed checkpoint must fit completely."""
        if resume and self.has_checkpoint():
            self.complete = True
        return super().resume_or_load(path, resume=resume)

    def load(self, path: str, checkpointables=None) -> dict[str, Any]:
        """As in Detectron2; a path that is not there ends in a sentence."""
        self._path = path
        if path and "://" not in path and not os.path.isfile(path):
            raise UserError(
                f"Checkpoint {path} does not exist: correct train.init_checkpoint, or set "
                'train.init_checkpoint="" to start from random weights.'
            )
        try:
            return super().load(path, checkpointables)
        except OSError as error:
            if "://" not in path:
                raise
            raise UserError(
                f"Weights {path} cannot be downloaded ({error}): give a local file as "
                'train.init_checkpoint=FILE, or train.init_checkpoint="" to start from random '
                "weights."
            ) from error

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        super()._log_incompatible_keys(incompatible)
        wrong = {name: (tuple(theirs), tuple(ours)) for name, theirs, ours in _shapes(incompatible)}
        absent = {*incompatible.missing_keys, *wrong}
        names = [name for name, _ in self.model.named_parameters()]
        backbone = [name for name in names if "bottom_up." in name] or names
        fitting = sum(name not in absent for name in backbone)
        too_few = fitting < self.MIN_BACKBONE_SHARE * len(backbone)
        if too_few or (self.complete and absent):
            missing = [name for name in incompatible.missing_keys if name not in wrong]
            mismatched = [f"{name} {a} for {b}" for name, (a, b) in wrong.items()]
            raise UserError(
                f"Checkpoint {self._path} is for another architecture: {fitting} of "
                f"{len(backbone)} backbone tensors fit; missing {_some(missing)}; unexpected "
                f"{_some(incompatible.unexpected_keys)}; mismatched {_some(mismatched)}. "
                "Use the config that it was trained with, or another checkpoint."
            )


class UntaggedCheckpointer(DetectionCheckpointer):
    """Saves without becoming the checkpoint that ``--resume`` goes on from.

    For the best weights so far: they are written after the evaluation, when the iteration that the
    trainer counts has moved on, so that a resumed run would skip one.
    """

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Leave the file ``last_checkpoint`` as it is."""


def _shapes(incompatible: Any) -> Iterable[tuple[str, Any, Any]]:
    """(name, shape in the file, shape in the model) of each tensor that does not fit."""
    return [entry[:3] for entry in incompatible.incorrect_shapes]


def _some(names: Iterable[str], limit: int = 3) -> str:
    """Count names and show the first few."""
    names = list(names)
    if not names:
        return "none"
    return f"{len(names)} ({', '.join(names[:limit])}{', ...' if len(names) > limit else ''})"
