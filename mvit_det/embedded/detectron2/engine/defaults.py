"""What most training scripts begin with: arguments, folders, logs, seeds, data parallelism."""

import argparse
import os
import sys
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from detectron2.config import LazyConfig
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

__all__ = ["create_ddp_model", "default_argument_parser", "default_setup", "default_writers"]

_EXAMPLES = """
Examples:
  one GPU, or a CPU:   {0} --config-file CONFIG train.max_iter=1000
  8 GPUs:              {0} --config-file CONFIG --num-gpus 8
  2 machines, each:    {0} --config-file CONFIG --num-gpus 8 --num-machines 2 \\
                           --machine-rank <0 or 1> --dist-url tcp://<machine 0>:<port>
"""


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """The command line of training scripts.

    Args:
        epilog: the text below the help; examples by default.
    """
    parser = argparse.ArgumentParser(
        epilog=epilog or _EXAMPLES.format(sys.argv[0]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # A private port (RFC 6335) of each user's own, so that two users of one machine don't meet.
    port = 49152 + (os.getuid() if hasattr(os, "getuid") else 1) % 16384
    flag = parser.add_argument
    flag("--config-file", default="", metavar="FILE", help="a .py or .yaml config")
    flag(
        "--resume", action="store_true", help="go on from the last checkpoint in the output folder"
    )
    flag("--eval-only", action="store_true", help="evaluate and do not train")
    flag("--num-gpus", type=int, default=1, help="processes on each machine")
    flag("--num-machines", type=int, default=1, help="machines in all")
    flag("--machine-rank", type=int, default=0, help="number of this machine, from 0")
    flag("--dist-url", default=f"tcp://127.0.0.1:{port}", help="address of machine 0, or auto")
    flag("opts", nargs=argparse.REMAINDER, help="changes to the config, as key=value ...")
    return parser


def default_setup(cfg: DictConfig, args: argparse.Namespace) -> None:
    """Begin a run: make the output folder, start the logs, save the config, seed.

    Reads ``cfg.train``'s ``output_dir``, ``seed`` (negative or absent for a random one),
    ``cudnn_benchmark`` and ``float32_precision``.

    Args:
        args: the command line; it is logged, and ``eval_only`` is read.
    """
    train = cfg.train
    output_dir, rank = train.get("output_dir"), comm.get_rank()
    if output_dir and comm.is_main_process():
        PathManager.mkdirs(output_dir)
    for name in ("fvcore", "detectron2"):
        logger = setup_logger(output_dir, rank, name=name)
    logger.info(f"Process {rank} of {comm.get_world_size()}.\n{collect_env_info()}")
    logger.info(f"Command line: {args}")
    if output_dir and comm.is_main_process():
        path = os.path.join(output_dir, "config.yaml")
        LazyConfig.save(cfg, path)
        logger.info(f"The full config is in {path}.")

    seed = train.get("seed", -1)
    # Processes differ, or all of them would draw the same augmentations.
    seed_all_rng(None if seed is None or seed < 0 else seed + rank)
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = bool(train.get("cudnn_benchmark", False))
    if train.get("float32_precision"):
        torch.set_float32_matmul_precision(train.float32_precision)


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Writers to the log, to ``output_dir/metrics.json``, and for TensorBoard.

    Args:
        max_iter: the end of training, for the ETA.
    """
    PathManager.mkdirs(output_dir)
    return [
        CommonMetricPrinter(max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]


def create_ddp_model(
    model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any
) -> nn.Module:
    """Wrap a model for training by several processes; with one process, return it as it is.

    Args:
        fp16_compression: exchange gradients in half precision.
        kwargs: go to DistributedDataParallel; ``device_ids`` is set for a model on GPU.
    """
    if comm.get_world_size() == 1:
        return model
    if all(parameter.is_cuda for parameter in model.parameters()):
        kwargs.setdefault("device_ids", [comm.get_local_rank()])
    ddp = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        ddp.register_comm_hook(state=None, hook=fp16_compress_hook)
    return ddp
