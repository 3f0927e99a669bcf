#!/usr/bin/env python
"""Train or evaluate any config of this project: see README.md."""

import logging
from argparse import ArgumentParser, Namespace

import mvit_det  # before detectron2, which it makes importable
from detectron2.engine import default_argument_parser, default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from mvit_det.data.custom.categories import categories_to_config
from mvit_det.data.custom.files import CustomFiles
from mvit_det.engine import (
    ConfigFile,
    apply_overrides,
    do_train,
    evaluate,
    load_config,
    run,
    summarize,
)
from mvit_det.tasks import task_of
from omegaconf import DictConfig

logger = logging.getLogger("mvit_det")


def argument_parser() -> ArgumentParser:
    """Detectron2's flags, and those for custom data."""
    parser = default_argument_parser()
    CustomFiles.add_flags(parser)
    return parser


def setup(args: Namespace) -> tuple[DictConfig, ConfigFile]:
    """Config file, then custom data, then overrides; the result is saved as config.yaml."""
    setup_logger(name="mvit_det", distributed_rank=comm.get_rank())
    cfg = load_config(args.config_file)
    task, files = task_of(cfg), CustomFiles.from_args(args)
    if files:
        # The schedule depends on where the weights come from, so this override is looked at first.
        start = [text for text in args.opts if text.startswith("train.init_checkpoint=")]
        cfg = apply_overrides(cfg, start)
        processes = max(args.num_gpus * args.num_machines, comm.get_world_size())
        task.use_custom_data(cfg, files, processes)
    cfg = apply_overrides(cfg, args.opts)
    task.check_custom_data(cfg, files)
    categories = task.data_categories(cfg)
    if categories:
        cfg.categories = categories_to_config(categories)  # so that config.yaml is enough to predict with
    config_file = ConfigFile(cfg.train.output_dir)
    default_setup(cfg, args)
    config_file.hold()
    # now that the folder is known, the log goes to its file as well
    setup_logger(
        cfg.train.output_dir,
        name="mvit_det",
        distributed_rank=comm.get_rank(),
        configure_stdout=False,
    )
    logger.info("Detectron2: the %s one serves this run", mvit_det.host())
    return cfg, config_file


def main(args: Namespace) -> None:
    """One process of the run."""
    cfg, config_file = setup(args)
    if args.eval_only:
        evaluate(cfg, resume=args.resume)
    else:
        summarize(cfg, do_train(args, cfg, on_start=config_file.replace), task_of(cfg))


if __name__ == "__main__":
    run(main, argument_parser().parse_args())
