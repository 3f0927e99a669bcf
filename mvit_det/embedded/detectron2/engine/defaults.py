"""The set-up of training scripts: arguments, folders, logs, seeds, data parallelism."""

import os
from argparse import REMAINDER, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from typing import Any

from omegaconf import DictConfig
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from detectron2.config import LazyConfig
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

_EXAMPLES = """
Examples:
  one GPU, or a CPU:   %(prog)s --config-file CONFIG train.max_iter=1000
  8 GPUs:              %(prog)s --config-file CONFIG --num-gpus 8
  2 machines, each:    %(prog)s --config-file CONFIG --num-gpus 8 --num-machines 2 \\
                           --machine-rank <0 or 1> --dist-url tcp://<machine 0>:<port>
"""


def default_argument_parser() -> ArgumentParser:
    """Make the command-line parser of training scripts."""
    parser = ArgumentParser(epilog=_EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
    # A private port (RFC 6335) derived from the user, so that users of one machine do not collide.
    port = 49152 + (os.getuid() if hasattr(os, "getuid") else 1) % 16384
    flag = parser.add_argument
    flag("--config-file", default="", metavar="FILE", help="a .py or .yaml config")
    flag("--resume", action="store_true", help="continue from the last checkpoint in output_dir")
    flag("--eval-only", action="store_true", help="evaluate and do not train")
    flag("--num-gpus", type=int, default=1, help="processes on each machine")
    flag("--num-machines", type=int, default=1, help="machines in all")
    flag("--machine-rank", type=int, default=0, help="index of this machine, from 0")
    flag("--dist-url", default=f"tcp://127.0.0.1:{port}", help="address of machine 0, or auto")
    flag("opts", nargs=REMAINDER, help="changes to the config, as key=value ...")
    return parser


def default_setup(cfg: DictConfig, args: Namespace) -> None:
    """Make ``cfg.train.output_dir``, log and save the config there, seed by ``cfg.train.seed``."""
    output_dir, rank = cfg.train.get("output_dir"), comm.get_rank()
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

    seed = cfg.train.get("seed", -1)
    # With one seed, all processes would draw the same augmentations.
    seed_all_rng(None if seed is None or seed < 0 else seed + rank)


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Make writers for the log (with an ETA by ``max_iter``), metrics.json and TensorBoard."""
    PathManager.mkdirs(output_dir)
    json_writer = JSONWriter(os.path.join(output_dir, "metrics.json"))
    return [CommonMetricPrinter(max_iter), json_writer, TensorboardXWriter(output_dir)]


def create_ddp_model(model: nn.Module, *, fp16_compression=False, **kwargs: Any) -> nn.Module:
    """Wrap a model in ``DistributedDataParallel(**kwargs)`` if there are several processes.

    ``fp16_compression`` exchanges gradients in half precision.
    """
    if comm.get_world_size() == 1:
        return model
    if all(parameter.is_cuda for parameter in model.parameters()):
        kwargs.setdefault("device_ids", [comm.get_local_rank()])
    ddp = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        ddp.register_comm_hook(state=None, hook=fp16_compress_hook)
    return ddp
