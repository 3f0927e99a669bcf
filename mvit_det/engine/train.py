"""Train and evaluate: config -> instantiate -> loader -> model -> losses or results.

This module is the same for every task. A model returns a dict of losses in training and one result
per input in evaluation; loaders, evaluators and models come from the config.
"""

import logging
import signal
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import torch
from detectron2.config import instantiate
from detectron2.engine import create_ddp_model, default_writers, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from mvit_det import randomness
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.engine.config_values import check_run
from mvit_det.engine.device import open_device
from mvit_det.engine.ema import AveragedWeights
from mvit_det.engine.folder import exclusive_output_dir, exclusive_test_dir
from mvit_det.engine.frozen import time_limit, watched_processes
from mvit_det.engine.guarded_test import (
    Results,
    TestLoader,
    build_test_loader,
    guarded_test,
    judge_test,
)
from mvit_det.engine.hooks import Checkpoints, DrawCurves, Evaluations, KeepBest
from mvit_det.engine.resumable_evaluation import ResumableEvaluation
from mvit_det.engine.stop import Stopped, StopRequest
from mvit_det.engine.trainer import Trainer, WatchedLoader
from mvit_det.errors import UserError, check_choice
from mvit_det.files import reading_once
from mvit_det.kernels.cpu import has_fast_bfloat16
from mvit_det.precision import InPrecision, open_precision

logger = logging.getLogger(__name__)

# What constructors raise for arguments that they do not take.
_FAULTS: tuple[type[Exception], ...] = (
    *(TypeError, ValueError, ArithmeticError, AssertionError, LookupError, RuntimeError),
    *(ImportError, AttributeError),
)


def do_test(cfg: DictConfig, model: nn.Module) -> Results:
    """Evaluate ``model`` on ``cfg.dataloader.test`` with ``cfg.dataloader.evaluator``.

    Returns:
        task -> metric -> value in percent, e.g. ``{"bbox": {"AP": ..., "AP50": ...}}``; empty on
        all ranks but the first.
    """
    loader = TestLoader(build_test_loader(cfg), time_limit(cfg))
    return _run_test(in_eval_precision(cfg, model), loader, instantiate(cfg.dataloader.evaluator))


def _run_test(model: nn.Module, loader: Any, evaluators: Any) -> Results:
    results = inference_on_dataset(model, loader, evaluators)
    if comm.is_main_process():
        print_csv_format(results)
    return results or {}


def evaluate(
    cfg: DictConfig, resume: bool = False, model: nn.Module | None = None
) -> dict[str, Any]:
    """Evaluate a model, or the config's with ``cfg.train.init_checkpoint``, which must fit it.

    Args:
        cfg: as for `do_train`.
        resume: continue the test that was interrupted in ``cfg.train.output_dir``, if an evaluator
            keeps its results on disk (`ResumableEvaluation`).
        model: a model with its weights, evaluated as it is; None for the config's, which loads
            the checkpoint and computes in ``train.eval_precision``.

    Returns:
        task -> metric -> value, as from `do_test`.

    Raises:
        UserError: there is no checkpoint, it does not fit, or nothing was measured.
        Stopped: the test was interrupted.
    """
    if model is None and not cfg.train.init_checkpoint:
        raise UserError(
            "--eval-only needs weights: add train.init_checkpoint=FILE, for example "
            f"{cfg.train.output_dir}/model_final.pth."
        )
    check_run(cfg, training=False)
    model, tested = _trained_model(cfg) if model is None else (model, model)
    test = ResumableEvaluation(cfg)
    lock = exclusive_test_dir(cfg.train.output_dir) if test.keeps else nullcontext()
    with lock, StopRequest() as stop, watched_processes(time_limit(cfg)):
        stop.interruptible = True
        try:
            with reading_once():
                loader = TestLoader(test.loader(model, resume), time_limit(cfg))
            results = _run_test(_distributed(cfg, tested), loader, test.evaluators)
        except Stopped as stopped:
            name = signal.Signals(stopped.exit_code - 128).name
            raise Stopped(f"Stopped by {name}: {test.progress()}.", stopped.exit_code) from None
    # the count of unreadable images is not a measurement
    measured = [task for task, numbers in results.items() if numbers and task != "unreadable"]
    if comm.is_main_process() and not measured:
        raise UserError("The evaluation has no metrics: correct the data faults in the log above.")
    return results


def _trained_model(cfg: DictConfig) -> tuple[nn.Module, nn.Module]:
    """Load the checkpoint to evaluate; return the model, and the same in ``eval_precision``."""
    model = build_model(cfg, open_device(cfg.train.device, "train.device="))
    tested = in_eval_precision(cfg, model)
    inflation = cfg.train.get("inflation", "centre")
    ema = cfg.train.get("init_ema", True)
    checkpointer = StrictCheckpointer(model, complete=True, inflation=inflation, ema=ema)
    checkpointer.load(cfg.train.init_checkpoint)
    return model, tested


def do_train(
    args: Namespace,
    cfg: DictConfig,
    on_start: Callable[[], None] = lambda: None,
    judge: Callable[[Any], None] = lambda dataset: None,
) -> dict[str, Any]:
    """Train, with the checkpoints, evaluations and curves of ``cfg.train``.

    Args:
        args: from the command line; only ``args.resume`` is read. A resumed run continues exactly:
            with the same seed, config and number of processes, its losses are bit for bit those of
            an uninterrupted run (on CPU; on GPUs as far as their kernels are deterministic).
        cfg: has model, dataloader.{train,test,evaluator}, optimizer, lr_multiplier, and train with
            the keys of ``configs/common/train.py``.
        on_start: called after everything is built and loaded, before the first iteration.
        judge: called with the test dataset before the model is built; raises a `UserError` for what
            its metadata tell is wrong.

    Returns:
        The results of the last evaluation as from `do_test`, on the main process.

    Raises:
        UserError: the config, data or checkpoint cannot be used, or training has diverged.
        IncompleteEvaluation: after the training, if an evaluation in it was incomplete.
        Stopped: the run was asked to stop, and has saved a checkpoint.
    """
    folder = exclusive_output_dir(cfg.train.output_dir, args.resume)
    with folder, StopRequest() as stop, watched_processes(time_limit(cfg)):
        return _train(cfg, args.resume, stop, on_start, judge)


def _train(
    cfg: DictConfig,
    resume: bool,
    stop: StopRequest,
    on_start: Callable[[], None],
    judge: Callable[[Any], None],
) -> dict[str, Any]:
    check_run(cfg, training=True)
    # Data come first, so that their faults show before anything expensive is built.
    parts = cfg.train.get("gradient_accumulation", 1)
    loader = build_data(cfg, parts, judge)
    model = build_model(cfg, open_device(cfg.train.device, "train.device="))
    cfg.optimizer.params.model = model
    optimizer = build_part(cfg, "optimizer")
    average = _average(cfg, model)
    model = _distributed(cfg, model)

    trainer = Trainer(
        model,
        WatchedLoader(loader, time_limit(cfg)),
        optimizer,
        accumulation=parts,
        precision=_precision(cfg),
        max_norm=cfg.train.get("clip_gradients"),
    )
    inflation = cfg.train.get("inflation", "centre")
    ema = cfg.train.get("init_ema", True)
    checkpointer = StrictCheckpointer(
        model, cfg.train.output_dir, inflation=inflation, ema=ema, trainer=trainer
    )
    checkpoints = Checkpoints(checkpointer, loader, stop, **cfg.train.checkpointer)
    results: dict[str, Any] = {}
    eval_model = average.model if average else model
    test = _tester(cfg, in_eval_precision(cfg, eval_model), checkpoints, results)
    registered = _hooks(cfg, test, checkpoints, eval_model)
    trainer.register_hooks([average, *registered])
    start = 0
    newest = checkpointer.get_checkpoint_file() if resume else ""
    if newest:
        configured = [dict(group) for group in optimizer.param_groups]
        checkpoints.resumed = checkpointer.resume(newest)
        start = trainer.iter + 1  # the checkpoint holds the iteration after which it was saved
        _reconfigure(optimizer, configured)
    else:
        if resume:
            logger.warning("No checkpoint is in %s yet: starting a new run.", cfg.train.output_dir)
        checkpointer.load(cfg.train.init_checkpoint, checkpointables=[])
    if start >= cfg.train.max_iter:
        text = "Nothing to train: the checkpoint is of iteration %d and train.max_iter is %d."
        logger.warning(text, start, cfg.train.max_iter)
        checkpointer.complete_final(newest)
    on_start()
    try:
        trainer.train(start, cfg.train.max_iter)
    finally:
        trainer.close()
    for hook in registered:
        if isinstance(hook, Evaluations):
            hook.raise_faults(results)
    return results


def build_data(cfg: DictConfig, parts: int, judge: Callable[[Any], None]) -> Any:
    """Build the training loader as `train_loader`; judge the test data as `judge_test`."""
    with reading_once():
        loader = train_loader(cfg, parts)
        with randomness.preserved():
            judge_test(cfg, judge)
    return loader


def in_eval_precision(cfg: DictConfig, model: nn.Module) -> nn.Module:
    """Return a model that computes in ``train.eval_precision``, whatever it is trained in.

    Raises:
        UserError: there is no such precision, or ``train.device`` does not compute in it.
    """
    word = cfg.train.get("eval_precision", "fp32")
    dtype = open_precision(word, torch.device(cfg.train.device), "train.eval_precision=")
    return model if dtype is torch.float32 else InPrecision(model, dtype)


def train_loader(cfg: DictConfig, parts: int) -> Any:
    """Build the training loader, with batches divided by ``parts`` for gradient accumulation."""
    batch = cfg.dataloader.train.total_batch_size
    world = comm.get_world_size()
    if parts < 1 or (parts > 1 and batch % (parts * world)):
        raise UserError(
            f"train.gradient_accumulation={parts}, the number of parts of a batch that go through "
            f"the model one by one, must divide dataloader.train.total_batch_size={batch} into "
            f"equal shares for {world} process(es): change one of the two."
        )
    copy = deepcopy(cfg)
    copy.dataloader.train.total_batch_size = batch // parts
    return instantiate(copy.dataloader.train)


def _average(cfg: DictConfig, model: nn.Module) -> AveragedWeights | None:
    """Build the moving average of the weights; None if ``train.ema`` is off."""
    ema: Any = cfg.train.get("ema") or {}
    if not ema.get("enabled", False):
        return None
    return AveragedWeights(model, ema.decay, cfg.train.output_dir)


def _reconfigure(optimizer: Optimizer, configured: list[dict[str, Any]]) -> None:
    """Restore learning rates, decay and betas of this run's config over the checkpoint's."""
    changed = set()
    for group, settings in zip(optimizer.param_groups, configured):
        settings["initial_lr"] = settings["lr"]  # which the schedule multiplies
        for key, value in settings.items():
            if key not in ("params", "lr") and group.get(key) != value:
                changed.add(f"{key.replace('initial_', '')}: {group.get(key)} -> {value}")
                group[key] = value
    if changed:
        logger.info("Changed for the optimizer since the checkpoint: %s", "; ".join(changed))


def _tester(
    cfg: DictConfig, model: nn.Module, checkpoints: Checkpoints, results: dict[str, Any]
) -> Callable[[], tuple[dict[str, Any], list[str]]]:
    """Build an evaluation that does not affect training, even if it is interrupted or fails."""
    stop = checkpoints.stop

    def test() -> tuple[dict[str, Any], list[str]]:
        try:
            # A single process need not agree with others on where to stop.
            stop.interruptible = comm.get_world_size() == 1
            with randomness.preserved():
                new, faults = guarded_test(cfg, model)
            results.clear()  # an earlier evaluation may have more keys, such as "unreadable"
            results.update(new)
        except Stopped:
            checkpoints.save_between_steps()
            raise
        finally:
            stop.interruptible = False
        return results, faults

    return test


def build_model(cfg: DictConfig, device: str | torch.device) -> nn.Module:
    """Build the model of a config on a device.

    Raises:
        UserError: the constructor of the model refuses the config.
    """
    model = build_part(cfg, "model")
    if not isinstance(model, nn.Module):
        raise UserError(f"The model of the config is {model!r}: give a torch.nn.Module there.")
    model = model.to(device)
    count = sum(p.numel() for p in model.parameters())
    logger.info("%s with %.2f M parameters on %s", type(model).__name__, count / 1e6, device)
    return model


def build_part(cfg: DictConfig, key: str) -> Any:
    """Build what a config has at ``key``; raise a `UserError` if its constructor refuses it."""
    try:
        return instantiate(OmegaConf.select(cfg, key))
    except _FAULTS as e:
        detail = " ".join(str(e).split()) or type(e).__name__
        raise UserError(f"The {key} of the config cannot be built: {detail}") from e


def _on_cpu(cfg: DictConfig) -> bool:
    return str(cfg.train.device).startswith("cpu")


def _distributed(cfg: DictConfig, model: nn.Module) -> nn.Module:
    """Wrap the model in DistributedDataParallel if there are several processes.

    A model without parameters, such as an exported one, has nothing to share and is refused there.
    """
    if next(model.parameters(), None) is None:
        return model
    if str(cfg.train.device) == "mps" and comm.get_world_size() > 1:
        raise UserError("train.device=mps trains in one process: use --num-gpus 1.")
    options = dict(cfg.train.ddp)
    if _on_cpu(cfg):
        options["device_ids"] = None  # DistributedDataParallel requires this for CPU modules
    return create_ddp_model(model, **options)


def _precision(cfg: DictConfig) -> torch.dtype | None:
    """Return the dtype of mixed precision; None for float32."""
    amp = cfg.train.amp
    if not amp.enabled:
        return None
    name = amp.get("dtype", "float16")
    check_choice("train.amp", ("float16", "bfloat16"), dtype=name)
    if str(cfg.train.device).startswith("cuda"):
        return getattr(torch, name)
    if _on_cpu(cfg) and name == "bfloat16" and has_fast_bfloat16():
        return torch.bfloat16
    needs = "CUDA" if name == "float16" else "CUDA or a CPU with AVX-512 BF16 or AMX"
    logger.info(
        "train.amp.dtype=%s needs %s: training in float32 on %s.", name, needs, cfg.train.device
    )
    return None


def _hooks(
    cfg: DictConfig, test: Callable[[], tuple], checkpoints: Checkpoints, eval_model: nn.Module
) -> list:
    """List the hooks in the order they run: schedule, saving, evaluation, reports.

    ``eval_model`` is the one that ``test`` evaluates; the best of its weights are kept.
    """
    train = cfg.train
    registered = [
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=build_part(cfg, "lr_multiplier")),
        checkpoints,
        Evaluations(test, train.eval_period, train.output_dir, train.get("best_metric", "")),
    ]
    if comm.is_main_process():
        if train.get("best_metric"):
            weights_only = StrictCheckpointer(eval_model, train.output_dir)
            registered.append(KeepBest(weights_only, train.best_metric))
        writers = default_writers(train.output_dir, train.max_iter)
        registered.append(hooks.PeriodicWriter(writers, period=train.log_period))
        registered.append(DrawCurves(train.output_dir, train.eval_period))
    return registered
