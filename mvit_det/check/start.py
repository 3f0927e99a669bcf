"""What a start of training judges, as findings: all of it instead of the first fault."""

import logging
import os
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvit_det.checkpoint.published import fetch, find
from mvit_det.data.bad_samples import TooManyBad
from mvit_det.data.checks.findings import FileCheck, Finding
from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.image_files import configured_pictures, use_pictures
from mvit_det.engine import apply_overrides, load_config, open_device
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.engine.config_values import run_faults
from mvit_det.engine.folder import check_unused
from mvit_det.engine.guarded_test import judge_test
from mvit_det.engine.launch import process_fault, user_message
from mvit_det.engine.train import build_model, build_part, train_loader
from mvit_det.errors import UserError
from mvit_det.files import reading_once
from mvit_det.tasks import Task, task_of
from mvit_det.train import flags_as_overrides

Add = Callable[..., None]  # (severity, kind, sentence)
_SHARED = 256 << 20  # bytes of shared memory for the batches of loading processes


class Steps:
    """Runs the steps of a start; each fault is added, and the next step runs.

    Attributes:
        add: takes severity, kind and sentence.
        failed: whether the last step had a fault.
    """

    def __init__(self, add: Add) -> None:
        self.add = add
        self.failed = False

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Add the faults of a block, and its warnings in the log, as findings of a kind."""
        with _caught_log(partial(self.add, kind=kind)):
            try:
                self.failed = False
                yield
            except TooManyBad as error:
                self.add("note", "too many faults", str(error))
            except Exception as error:
                self.failed = True
                sentence = user_message(error) or f"{type(error).__name__}: {error}"
                self.add("error", kind, sentence)


@contextmanager
def _caught_log(add: Callable[..., None]) -> Iterator[None]:
    """Add the warnings that this package logs in a block, instead of printing all lines."""

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                # a summary of faults that the checks of files report one by one
                severity = "note" if getattr(record, "summary", False) else "warning"
                add(severity, sentence=record.getMessage())

    log = logging.getLogger("mvit_det")
    kept, propagate = log.handlers, log.propagate
    log.handlers, log.propagate = [Catch()], False
    try:
        yield
    finally:
        log.handlers, log.propagate = kept, propagate


@dataclass
class Start:
    """What a start has.

    Attributes:
        cfg: the config, with flags and overrides as far as they can be applied.
        task: of the config.
        refused: the custom data, if they cannot be used at all.
    """

    cfg: DictConfig
    task: Task
    refused: CustomFiles | None = None

    def check_files(self, split: str, full: bool) -> Iterator[Finding | FileCheck]:
        """Yield the checks of a split, as `Task.check_files`; nothing if the split is absent."""
        if self.refused is not None:
            yield from self.task.check_refused(self.refused, "val" if split == "test" else split)
        elif OmegaConf.select(self.cfg, f"dataloader.{split}.dataset") is not None:
            yield from self.task.check_files(self.cfg, split, full)


@reading_once()
def judge_start(args: Namespace, add: Add) -> Start | None:
    """Judge the config, the data set files and the machine, without writing anything.

    Args:
        args: of train_net.py.
        add: takes severity, kind and sentence of each fault.

    Returns:
        What can be checked further; None if the config cannot be loaded.
    """
    step = Steps(add)
    with step("config"):
        cfg = load_config(args.config_file, args.allow_target)
        task, files = task_of(cfg), CustomFiles.from_args(args)
        texts = [*flags_as_overrides(args, task), *args.opts]
    if step.failed:
        return None
    cfg = _override(step, cfg, [x for x in texts if x.startswith("train.init_checkpoint=")])
    if files:
        with step("data set"):
            processes = max(args.num_gpus * args.num_machines, 1)
            task.use_custom_data(cfg, files, processes)
        if step.failed:  # the data of the config are not those to judge
            return Start(cfg, task, files)
    cfg = _override(step, cfg, texts)
    faults = [str(fault) for fault in run_faults(cfg, training=not args.eval_only)]
    for fault in faults:
        add("error", "config", fault)
    with step("config"):
        use_pictures(configured_pictures(cfg))
        task.settle_classes(cfg, training=not args.eval_only, resume=args.resume)
    if faults:
        return Start(cfg, task)
    _judge_data(step, args, cfg, task)
    model = _judge_model(step, args, cfg)
    _judge_machine(step, args, cfg, model)
    return Start(cfg, task)


def _override(step: Steps, cfg: DictConfig, texts: list[str]) -> DictConfig:
    """Apply overrides one by one."""
    for text in texts:
        with step("config"):
            cfg = apply_overrides(cfg, [text])
    return cfg


def _judge_data(step: Steps, args: Namespace, cfg: DictConfig, task: Task) -> None:
    """Build the data sets, the loaders and the evaluators."""
    if not args.eval_only:
        with step("data set"):
            train_loader(cfg, cfg.train.get("gradient_accumulation", 1))
    with step("data set"):
        judge = (lambda dataset: None) if args.eval_only else partial(task.check_test_data, cfg)
        judge_test(cfg, judge)


def _judge_model(step: Steps, args: Namespace, cfg: DictConfig) -> nn.Module | None:
    """Build the model on the CPU, load weights that are on this machine, build the optimizer."""
    model = None
    with step("config"):
        model = build_model(cfg, "cpu")
    if model is None:
        return None
    with step("weights"):
        source = str(cfg.train.init_checkpoint or "")
        if os.path.isfile(source):
            inflation, ema = cfg.train.get("inflation", "centre"), cfg.train.get("init_ema", True)
            how = dict(complete=args.eval_only, inflation=inflation, ema=ema)
            StrictCheckpointer(model, **how).load(source, checkpointables=[])
        elif source and "://" not in source and find(source) is None:
            fetch(source)  # which explains the fault
        elif args.eval_only and not source:
            raise UserError("--eval-only needs weights: add train.init_checkpoint=FILE")
    if not args.eval_only:
        with step("config"):
            cfg.optimizer.params.model = model
            try:
                build_part(cfg, "optimizer")
            finally:
                cfg.optimizer.params.model = None
        with step("config"):
            build_part(cfg, "lr_multiplier")
    return model


def _judge_machine(step: Steps, args: Namespace, cfg: DictConfig, model: nn.Module | None) -> None:
    """Judge device, processes, output folder, disk and shared memory."""
    with step("machine"):
        open_device(cfg.train.device, "train.device=")
    fault = process_fault(args)
    if fault:
        step.add("error", "machine", fault)
    folder = Path(cfg.train.output_dir)
    with step("machine"):
        check_unused(folder, args.resume or args.eval_only)
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        text = f"train.output_dir={folder} cannot be written to: choose another folder"
        step.add("error", "machine", text)
    elif model is not None and not args.eval_only:
        with step("machine"):
            _judge_disk(step.add, cfg, model, existing)
    shared, workers = "/dev/shm", OmegaConf.select(cfg, "dataloader.train.num_workers") or 0
    if workers and os.path.isdir(shared) and (free := shutil.disk_usage(shared).free) < _SHARED:
        text = (
            f"{shared}, through which {workers} loading processes pass their batches, has "
            f"{free >> 20} MB free: enlarge it (docker run --shm-size=2g), or set "
            "dataloader.train.num_workers=0"
        )
        step.add("warning", "machine", text)


def _judge_disk(add: Add, cfg: DictConfig, model: nn.Module, folder: Path) -> None:
    """Compare the size of all checkpoints of a training with the free space."""
    weights = sum(each.numel() * each.element_size() for each in model.state_dict().values())
    average = bool(OmegaConf.select(cfg, "train.ema.enabled"))
    moments = 1 if "momentum" in cfg.optimizer else 2
    size = weights * (1 + moments + average)
    period = cfg.train.checkpointer.period
    count = cfg.train.max_iter // period if period else 0
    kept = cfg.train.checkpointer.get("max_to_keep")
    # the last one, and a new one next to those it replaces
    count = min(count, count if kept is None else kept) + 2
    extra = weights * (average + bool(cfg.train.get("best_metric")))
    free = shutil.disk_usage(folder).free
    if count * size + extra > free:
        gb = f"{(count * size + extra) / 1e9:.1f} GB"
        add(
            "error",
            "machine",
            f"{folder} has {free / 1e9:.1f} GB free, but {count} checkpoints of {size / 1e9:.1f} "
            f"GB take {gb}: free some space, or lower train.checkpointer.max_to_keep",
        )
