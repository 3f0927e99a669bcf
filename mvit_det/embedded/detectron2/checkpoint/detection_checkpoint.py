"""The checkpointer of detection training."""

from typing import Any

from fvcore.common.checkpoint import Checkpointer
from torch import nn

from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

# Computed from the config, not trained: other code bases and versions may not save them, or may.
_OPTIONAL = {"pixel_mean", "pixel_std"}
_IGNORED = "anchor_generator.cell_anchors"


class DetectionCheckpointer(Checkpointer):
    """Save and load a model, and ``checkpointables`` with it, in files of ``torch.save``.

    A file is a state dict, or has one as "model". By default only the main process saves.
    """

    def __init__(self, model: nn.Module, save_dir="", *, save_to_disk=None, **checkpointables: Any):
        save_to_disk = comm.is_main_process() if save_to_disk is None else save_to_disk
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager

    def _load_file(self, f: str) -> dict[str, Any]:
        content = super()._load_file(f)
        return content if "model" in content else {"model": content}

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        report = super()._load_model(checkpoint)
        # In place: the type of the report is private to fvcore.
        report.missing_keys[:] = [key for key in report.missing_keys if key not in _OPTIONAL]
        report.unexpected_keys[:] = [k for k in report.unexpected_keys if _IGNORED not in k]
        return report
