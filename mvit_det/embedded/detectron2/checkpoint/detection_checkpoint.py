"""The checkpointer of detection training: files of the model zoo beside its own."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from detectron2.checkpoint.name_matching import match_by_suffix
from detectron2.checkpoint.weight_files import read_weights
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

# Made from the config, not trained: files of other code bases and versions lack or have them.
_NOT_MISSED = {"pixel_mean", "pixel_std"}
_NOT_UNEXPECTED = "anchor_generator.cell_anchors"


class DetectionCheckpointer(Checkpointer):
    """Save and load training; load published weights of Detectron2 (.pkl) and mvit (.pyth).

    Args:
        model: wrappers for data parallelism are taken off.
        save_dir: the folder of the checkpoints and of ``last_checkpoint``.
        save_to_disk: by default only the main process saves.
        checkpointables: objects with ``state_dict`` that are saved and loaded under these names.
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
        self._match_names = False  # what the path that is being loaded asks for

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load from a path or URL; return what in the file is neither weights nor a checkpointable.

        Args:
            path: nothing is loaded where it is empty. With ``?matching_heuristics=True`` at its
                end, parameters are found by the longest ending of their names.
            args: ``checkpointables``, as of fvcore's Checkpointer.

        Raises:
            ValueError: the file cannot be read, or the query is another one.
        """
        query = parse_qs(urlsplit(path or "").query)
        if query not in ({}, {"matching_heuristics": ["True"]}):
            raise ValueError(f"{path!r}: the only query is ?matching_heuristics=True.")
        self._match_names = bool(query)
        return super().load(path.rpartition("?")[0] if query else path, *args, **kwargs)

    def _load_file(self, f: str) -> dict[str, Any]:
        checkpoint = read_weights(f)
        model = checkpoint["model"]
        for name in [name for name in model if isinstance(model[name], np.generic)]:
            model[name] = np.asarray(model[name])
        return {**checkpoint, "matching_heuristics": True} if self._match_names else checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if checkpoint.get("matching_heuristics", False):
            checkpoint["model"] = match_by_suffix(self.model.state_dict(), checkpoint["model"])
        report = super()._load_model(checkpoint)
        # In place: the report's type is fvcore's private one.
        report.missing_keys[:] = [key for key in report.missing_keys if key not in _NOT_MISSED]
        report.unexpected_keys[:] = [k for k in report.unexpected_keys if _NOT_UNEXPECTED not in k]
        return report
