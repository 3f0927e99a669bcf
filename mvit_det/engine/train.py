"""The run: config -> instantiate -> loader -> model -> losses or results.

Nothing here knows the task. In training a model returns a dict of losses, in evaluation one result
per input; loaders, evaluators and models come from the config.
"""

import logging
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from detectron2.config import instantiate
from detectron2.engine import create_ddp_model, default_writers, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from mvit_det.engine.checkpointer import StrictCheckpointer, UntaggedCheckpointer
from mvit_det.engine.hooks import DrawCurves
from mvit_det.engine.trainer import MixedPrecisionTrainer, Trainer, WatchedLoader
from mvit_det.errors import UserError

logger = logging.getLogger(__name__)


def do_test(cfg: DictConfig, model: nn.Module) -> dict[str, dict[str, float]]:
    """Evaluate ``model`` on ``cfg.dataloader.test`` with ``cfg.dataloader.evaluator``.

    Returns:
        task -> metric -> value, e.g. ``{"bbox": {"AP": ..., "AP50": ...}}``; empty on all ranks but
        the first.
    """
    results = inference_on_dataset(
        model, instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator)
    )
    if comm.is_main_process():
        print_csv_format(results)
    return results or {}


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Load ``cfg.train.init_checkpoint``, which must fit the model completely, and evaluate it."""
    if not cfg.train.init_checkpoint:
        raise UserError(
            "--eval-only needs weights: add train.init_checkpoint=FILE, for example "
            f"{cfg.train.output_dir}/model_final.pth."
        )
    model = _on_device(cfg)
    StrictCheckpointer(model, complete=True).load(cfg.train.init_checkpoint)
    return do_test(cfg, _distributed(cfg, model))


def do_train(args: Namespace, cfg: DictConfig) -> dict[str, Any]:
    """Train, with checkpoints, evaluations and curves as ``cfg.train`` says.

    Args:
        args: from the command line; only ``args.resume`` is read.
        cfg: has model, dataloader.{train,test,evaluator}, optimizer, lr_multiplier, and train with
            the keys of ``configs/common/train.py``.

    Returns:
        The results of the last evaluation, on the main process.
    """
    # Data come first: what is wrong with them shows before anything expensive is built.
    loader = WatchedLoader(instantiate(cfg.dataloader.train))
    model = _on_device(cfg)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    model = _distributed(cfg, model)

    trainer = _trainer_class(cfg)(model, loader, optimizer)
    checkpointer = StrictCheckpointer(model, cfg.train.output_dir, trainer=trainer)
    results: dict[str, Any] = {}

    def test() -> dict[str, Any]:
        results.update(do_test(cfg, model))
        return results

    trainer.register_hooks(_hooks(cfg, test, checkpointer))
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=args.resume)
    # The checkpoint holds the iteration that had just ended.
    resumed = args.resume and checkpointer.has_checkpoint()
    start = trainer.iter + 1 if resumed else 0
    if start >= cfg.train.max_iter:
        logger.warning(
            "Nothing to train: the checkpoint is of iteration %d and train.max_iter is %d.",
            start,
            cfg.train.max_iter,
        )
    trainer.train(start, cfg.train.max_iter)
    return results


def _on_device(cfg: DictConfig) -> nn.Module:
    try:
        model = instantiate(cfg.model).to(cfg.train.device)
    except (TypeError, ValueError) as error:
        raise UserError(f"The model of the config cannot be built: {error}") from error
    count = sum(p.numel() for p in model.parameters())
    logger.info(
        "%s with %.2f M parameters on %s", type(model).__name__, count / 1e6, cfg.train.device
    )
    return model


def _on_cpu(cfg: DictConfig) -> bool:
    return str(cfg.train.device).startswith("cpu")


def _distributed(cfg: DictConfig, model: nn.Module) -> nn.Module:
    """Wrap the model for several processes; unchanged for one."""
    options = dict(cfg.train.ddp)
    if _on_cpu(cfg):
        # gloo takes modules on the CPU, and no compression of their gradients
        options.update(device_ids=None, fp16_compression=False)
    return create_ddp_model(model, **options)


def _trainer_class(cfg: DictConfig) -> type:
    if not cfg.train.amp.enabled:
        return Trainer
    if _on_cpu(cfg):
        logger.info("Mixed precision needs a GPU: training in float32 on this CPU.")
        return Trainer
    return MixedPrecisionTrainer


def _hooks(cfg: DictConfig, test: Callable[[], dict], checkpointer: StrictCheckpointer) -> list:
    """Detectron2's hooks in their usual order, and ours behind the writers."""
    train = cfg.train
    registered = [
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
    ]
    if comm.is_main_process():
        registered.append(hooks.PeriodicCheckpointer(checkpointer, **train.checkpointer))
    registered.append(hooks.EvalHook(train.eval_period, test))
    if comm.is_main_process():
        if train.get("best_metric") and train.eval_period > 0:
            best = UntaggedCheckpointer(checkpointer.model, train.output_dir)
            registered.append(hooks.BestCheckpointer(train.eval_period, best, train.best_metric))
        writers = default_writers(train.output_dir, train.max_iter)
        registered.append(hooks.PeriodicWriter(writers, period=train.log_period))
        registered.append(DrawCurves(train.output_dir, train.eval_period))
    return registered
