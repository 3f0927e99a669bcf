"""The checkpointer of detection training."""

from typing import Any

from fvcore.common.checkpoint import Checkpointer
from torch import nn

from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

# Made from the config, not trained: files of other code bases and versions lack or have them.
_NOT_MISSED = {"pixel_mean", "pixel_std"}
_NOT_UNEXPECTED = "anchor_generator.cell_anchors"


class DetectionCheckpointer(Checkpointer):
    """fvcore's, for files that ``torch.save`` wrote, wrapped in "model" or not.

    By default only the main process saves.
    """

    def __init__(self, model: nn.Module, save_dir="", *, save_to_disk=None, **checkpointables: Any):
        writes = comm.is_main_process() if save_to_disk is None else save_to_disk
        super().__init__(model, save_dir, save_to_disk=writes, **checkpointables)
        self.path_manager = PathManager

    def _load_file(self, f: str) -> dict[str, Any]:
        content = super()._load_file(f)
        return content if "model" in content else {"model": content}

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        report = super()._load_model(checkpoint)
        # In place: the report's type is fvcore's private one.
        report.missing_keys[:] = [key for key in report.missing_keys if key not in _NOT_MISSED]
        report.unexpected_keys[:] = [k for k in report.unexpected_keys if _NOT_UNEXPECTED not in k]
        return report
