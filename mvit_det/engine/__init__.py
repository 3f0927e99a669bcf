"""One training and one evaluation loop for every task, on top of Detectron2's engine."""

from mvit_det.engine.config import add_config_flags, apply_overrides, corrections, load_config
from mvit_det.engine.config_values import check_run
from mvit_det.engine.device import open_device
from mvit_det.engine.folder import ConfigFile
from mvit_det.engine.hooks import IncompleteEvaluation
from mvit_det.engine.launch import run
from mvit_det.engine.param_groups import classification_parameters
from mvit_det.engine.summary import summarize
from mvit_det.engine.train import build_model, do_test, do_train, evaluate
