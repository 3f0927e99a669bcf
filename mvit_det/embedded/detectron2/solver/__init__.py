"""Learning-rate schedules and parameter groups."""

from detectron2.solver.build import get_default_optimizer_params
from detectron2.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler

__all__ = ["get_default_optimizer_params", "LRMultiplier", "WarmupParamScheduler"]
