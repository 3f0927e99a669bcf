#!/usr/bin/env python
"""Train or evaluate any config of this project: see README.md."""

import logging
from argparse import ArgumentParser, Namespace

import mvit_det  # before detectron2, which it makes importable
from detectron2.config import instantiate
from detectron2.engine import default_argument_parser, default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from mvit_det.data.custom.categories import categories_to_config, data_categories
from mvit_det.data.custom.data import use_custom_data
from mvit_det.engine import (
    ConfigFile,
    apply_overrides,
    do_train,
    evaluate,
    load_config,
    run,
    summarize,
)
from mvit_det.errors import UserError

logger = logging.getLogger("mvit_det")


def argument_parser() -> ArgumentParser:
    """Detectron2's flags, and those for one's own data."""
    parser = default_argument_parser()
    own = parser.add_argument_group(
        "one's own data",
        "for a detection config annotations in COCO format and images; for a config that classifies "
        "images these alone, in one folder per class or in tar files; for one of videos, these in one "
        "folder per class, or a list of them; for one of actions (configs/ava) videos and csv files in "
        "AVA's format: see datasets/README.md",
    )
    own.add_argument("--train-json", metavar="FILE", help="annotations to train on")
    own.add_argument("--train-images", metavar="FOLDER", help="images to train on")
    own.add_argument("--val-json", metavar="FILE", help="annotations to evaluate on")
    own.add_argument("--val-images", metavar="FOLDER", help="images to evaluate on")
    own.add_argument("--train-videos", metavar="FOLDER", help="videos, or a list, to train on")
    own.add_argument("--val-videos", metavar="FOLDER", help="videos, or a list, to evaluate on")
    own.add_argument("--train-actions", metavar="CSV", help="boxes with actions to train on")
    own.add_argument("--val-actions", metavar="CSV", help="boxes with actions to evaluate on")
    own.add_argument(
        "--train-proposals", metavar="CSV", help="boxes that a detector found, as well"
    )
    own.add_argument("--val-proposals", metavar="CSV", help="the same, to be tested in their place")
    own.add_argument("--label-map", metavar="FILE", help="names of the actions to evaluate")
    return parser


def setup(args: Namespace):
    """Config file, then one's own data, then overrides; the result is saved as config.yaml."""
    setup_logger(name="mvit_det", distributed_rank=comm.get_rank())
    cfg = load_config(args.config_file)
    kinds = ("json", "images", "videos", "actions", "proposals")
    names = [f"{split}_{kind}" for kind in kinds for split in ("train", "val")]
    own = {name: getattr(args, name) for name in (*names, "label_map")}
    empty = [name.replace("_", "-") for name, value in own.items() if value == ""]
    if empty:  # such as a variable of the shell that is not set
        raise UserError(f"--{empty[0]} is empty: give a path, or leave the flag out.")
    if any(own.values()):
        # The schedule depends on where the weights come from, so this override is looked at first.
        start = [text for text in args.opts if text.startswith("train.init_checkpoint=")]
        cfg = apply_overrides(cfg, start)
        processes = max(args.num_gpus * args.num_machines, comm.get_world_size())
        use_custom_data(cfg, **own, processes=processes)
    cfg = apply_overrides(cfg, args.opts)
    if own["train_actions"]:  # otherwise faults come up when the first evaluation is due
        instantiate(cfg.dataloader.test.dataset)
    categories = data_categories(cfg)
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
        summarize(cfg, do_train(args, cfg, on_start=config_file.replace))


if __name__ == "__main__":
    run(main, argument_parser().parse_args())
