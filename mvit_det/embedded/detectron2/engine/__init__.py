"""The training loop, its hooks, and the start of a run."""

from . import hooks
from .defaults import create_ddp_model, default_argument_parser, default_setup, default_writers
from .hooks import IterationTimer, LRScheduler, PeriodicWriter
from .launch import DEFAULT_TIMEOUT, launch
from .train_loop import HookBase, SimpleTrainer, TrainerBase
