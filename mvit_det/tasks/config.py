"""The task that a config names, or that its structure implies."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf

from mvit_det.data.actions.mapper import ActionClipMapper
from mvit_det.errors import UserError
from mvit_det.tasks.actions import ActionDetection
from mvit_det.tasks.base import Task, arguments_of, target_of
from mvit_det.tasks.classification import Classification
from mvit_det.tasks.detection import Detection
from mvit_det.tasks.video import VideoClassification


def task_of(cfg: DictConfig) -> Task:
    """Return the task of a config: its key ``task``, instantiated.

    For configs saved before that key existed, the task is derived from their structure; if that is
    not possible, it is a bare `Task`.

    Raises:
        UserError: ``task`` is not a `Task`.
    """
    if cfg.get("task") is None:
        return _infer_task(cfg)
    try:
        task = instantiate(cfg.task)
    except (TypeError, ImportError) as error:
        detail = " ".join(str(error).split())
        raise UserError(f"The key `task` of this config cannot be built: {detail}.") from error
    if not isinstance(task, Task):
        raise UserError(
            f"The key `task` of this config is {task!r}, not an mvit_det.tasks.Task: "
            "name one, such as `task = L(Detection)()`, or rename the key."
        )
    return task


def _infer_task(cfg: DictConfig) -> Task:
    model, mapper = _section(cfg, "model"), _section(cfg, "dataloader.test.mapper")
    if "roi_heads" in model or {"augmentations", "image_format"} <= mapper.keys():
        return Detection()
    kind = target_of(mapper)
    maps_actions = inspect.isclass(kind) and issubclass(kind, ActionClipMapper)
    if maps_actions or "roi_size" in arguments_of(model):
        return ActionDetection()
    backbone = _section(cfg, "model.backbone") or (model if "num_classes" in model else {})
    size = arguments_of(backbone).get("input_size")
    size = backbone.get("input_size", size and size.default)
    axes = len(size) if isinstance(size, Sequence) else 0
    if axes == 3 or {"sampling", "transform"} <= mapper.keys():
        return VideoClassification()
    return Classification() if axes == 2 or "transform" in mapper else Task()


def _section(cfg: DictConfig, key: str) -> Mapping[str, Any]:
    """Return a section of keys; empty if it is absent, or a value, which `check_run` refuses."""
    found = OmegaConf.select(cfg, key)
    return found if isinstance(found, DictConfig) else {}
