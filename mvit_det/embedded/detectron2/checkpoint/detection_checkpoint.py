"""The checkpointer of detection training: files of the model zoo beside its own."""

import logging
from typing import Any

from fvcore.common.checkpoint import Checkpointer
from torch import nn

from detectron2.checkpoint.weight_files import read_weights
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

# Made from the config, not trained: files of other code bases and versions lack or have them.
_NOT_MISSED = {"pixel_mean", "pixel_std"}
_NOT_UNEXPECTED = "anchor_generator.cell_anchors"


class DetectionCheckpointer(Checkpointer):
    """fvcore's, which also loads published weights of Detectron2 (.pkl) and mvit (.pyth).

    By default only the main process saves.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ):
        writes = comm.is_main_process() if save_to_disk is None else save_to_disk
        super().__init__(model, save_dir, save_to_disk=writes, **checkpointables)
        self.path_manager = PathManager

    def _load_file(self, f: str) -> dict[str, Any]:
        return read_weights(f)

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if checkpoint.get("matching_heuristics", False):
            checkpoint["model"] = _match_by_suffix(self.model.state_dict(), checkpoint["model"])
        report = super()._load_model(checkpoint)
        # In place: the report's type is fvcore's private one.
        report.missing_keys[:] = [key for key in report.missing_keys if key not in _NOT_MISSED]
        report.unexpected_keys[:] = [k for k in report.unexpected_keys if _NOT_UNEXPECTED not in k]
        return report


def _match_by_suffix(model_state: dict[str, Any], loaded: dict[str, Any]) -> dict[str, Any]:
    """Rename ``loaded`` to the names in ``model_state``; both map names to arrays or tensors.

    ``backbone.blocks.0.norm1.weight`` of the model takes the loaded value whose name is its longest
    possible ending: the same name, else ``blocks.0.norm1.weight``, and so on. What fits no name
    or has another shape keeps its own, so that the checkpointer reports it.
    """
    logger = logging.getLogger(__name__)
    taken: dict[str, str] = {}
    for name, value in model_state.items():
        parts = name.split(".")
        endings = (".".join(parts[start:]) for start in range(len(parts)))
        source = next((ending for ending in endings if ending in loaded), None)
        if source is None:
            continue
        theirs, ours = tuple(loaded[source].shape), tuple(value.shape)
        if theirs != ours:
            logger.warning(f"{source}, of shape {theirs}, is left out: {name} has shape {ours}.")
        elif source in taken:
            raise ValueError(f"{source} of the checkpoint fits both {taken[source]} and {name}.")
        else:
            taken[source] = name
    log = logger.info if taken else logger.warning
    log(f"{len(taken)} of {len(loaded)} values of the checkpoint matched by name.")
    return {taken.get(name, name): value for name, value in loaded.items()}
