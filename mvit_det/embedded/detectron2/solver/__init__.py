"""Learning-rate schedules and parameter groups."""

from .build import get_default_optimizer_params
from .lr_scheduler import LRMultiplier, WarmupParamScheduler
