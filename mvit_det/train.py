"""Train or evaluate any config: the body of ``train_net.py`` and of ``mvit-det train``."""

import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial

from detectron2.engine import default_argument_parser, default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import mvit_det
from mvit_det.commands import command
from mvit_det.config_names import find_config
from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.custom.schedule import log_schedule
from mvit_det.data.image_files import configured_pictures, use_pictures
from mvit_det.engine import (
    ConfigFile,
    IncompleteEvaluation,
    add_config_flags,
    apply_overrides,
    check_run,
    corrections,
    do_train,
    evaluate,
    load_config,
    run,
    summarize,
)
from mvit_det.errors import UserError
from mvit_det.exported import ExportedModel, is_export
from mvit_det.files import reading_once
from mvit_det.precision import add_precision_flag
from mvit_det.tasks import Task, task_of
from mvit_det.workers import set_everywhere

logger = logging.getLogger("mvit_det")

# flags shared with other commands -> the config key that each one sets
_FLAGS = {
    "weights": "train.init_checkpoint",
    "output": "train.output_dir",
    "batch_size": "dataloader.train.total_batch_size",
    "precision": "train.eval_precision",
}


def argument_parser() -> ArgumentParser:
    """Build the parser: Detectron2's flags, those of every command, and those for custom data."""
    parser = default_argument_parser()
    parser.description = (
        "Train or evaluate the model of a config. --config-file takes a .py, a .yaml, or the name\n"
        "of a config that comes with mvit_det, such as quickstart or imagenet/mvitv2_t_in1k."
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights to start from or to evaluate: a path, a URL or the name of published weights",
    )
    parser.add_argument("--output", metavar="FOLDER", help="folder for all files of the run")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="samples per iteration, over all processes; with --eval-only per process",
    )
    add_precision_flag(parser, None, "; with --eval-only, as train.eval_precision")
    parser.add_argument(
        "--dump",
        metavar="FILE",
        help="with --eval-only: file.pkl for the scores of all images or videos, in the layout of "
        "MMAction2's and MMPretrain's test dumps, for their tools",
    )
    add_config_flags(parser)
    CustomFiles.add_flags(parser)
    return parser


def flags_as_overrides(args: Namespace, task: Task) -> list[str]:
    """Convert the flags of `_FLAGS` and --dump to overrides.

    Raises:
        UserError: flags and overrides contradict each other, or --dump does not suit the task.
    """
    if args.precision and not args.eval_only:
        raise UserError(
            "--precision is for --eval-only: train in lower precision with train.amp.enabled=true "
            "and train.amp.dtype, and set that of the evaluations with train.eval_precision."
        )
    if args.dump is not None and not task.dump_key:
        raise UserError(
            f"--dump is for classifiers, and this config is of {task.model}: leave it out."
        )
    if args.dump is not None and not args.eval_only:
        raise UserError("--dump is for --eval-only: add it, or leave --dump out.")
    overrides = []
    for name, key in {**_FLAGS, "dump": task.dump_key}.items():
        value = getattr(args, name)
        if value is None:
            continue
        if name == "batch_size" and args.eval_only:
            key = "dataloader.test.batch_size"
        for text in args.opts:
            other_key, _, other = text.lstrip("+").partition("=")
            if other_key == key and other.strip("'\"") != str(value):
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{flag} {value} and {text} contradict each other: use one.")
        if name == "precision":
            key = f"+{key}"  # which configs saved by older versions lack
        quoted = str(value).replace("'", "\\'")
        overrides.append(f"{key}={value}" if name == "batch_size" else f"{key}='{quoted}'")
    return overrides


def setup(args: Namespace) -> tuple[DictConfig, ConfigFile]:
    """Apply config file, custom data and overrides, in this order, and save config.yaml.

    Returns:
        The config, and the file to `replace` when training begins.

    Raises:
        UserError: a flag, override or custom data file cannot be used.
    """
    setup_logger(name="mvit_det", distributed_rank=comm.get_rank())
    cfg = load_config(args.config_file, args.allow_target)
    args.config_file = find_config(args.config_file)  # which Detectron2's default_setup opens
    task, files = task_of(cfg), CustomFiles.from_args(args)
    args.opts = [*flags_as_overrides(args, task), *args.opts]
    if files:
        # The schedule depends on where the weights come from, and is computed from valid values.
        first = [text for text in args.opts if text.startswith("train.init_checkpoint=")]
        cfg = apply_overrides(cfg, [*first, *corrections(cfg, args.opts)], last=False)
        processes = max(args.num_gpus * args.num_machines, comm.get_world_size())
        try:
            task.use_custom_data(cfg, files, processes)
        except (AttributeError, TypeError, OmegaConfBaseException):
            check_run(cfg, training=not args.eval_only)  # may name the cause
            raise
    cfg = apply_overrides(cfg, args.opts)
    check_run(cfg, training=not args.eval_only)
    task.settle_classes(cfg, training=not args.eval_only, resume=args.resume)
    if files and not args.eval_only:
        log_schedule(cfg)
        check = command("check")
        logger.info("%s with the same flags reads every file and reports all faults.", check)
    config_file = ConfigFile(cfg.train.output_dir)
    default_setup(cfg, args)
    config_file.hold()
    # now that the folder is known, the log goes to its file as well
    set_everywhere(_log_to, cfg.train.output_dir, comm.get_rank())
    logger.info("This run uses the %s Detectron2", mvit_det.host())
    return cfg, config_file


def _log_to(folder: str, rank: int) -> None:
    """Log to a file in the folder as well, and in the worker of a loader to the screen."""
    on_screen = not logger.handlers
    setup_logger(folder, name="mvit_det", distributed_rank=rank, configure_stdout=on_screen)


def _exported_model(cfg: DictConfig) -> ExportedModel | None:
    """Open ``train.init_checkpoint`` if it is the folder of an exported model."""
    path = OmegaConf.select(cfg, "train.init_checkpoint")
    if not is_export(path):
        return None
    precision = cfg.train.get("eval_precision", "fp32")
    return ExportedModel(path, task_of(cfg), precision, cfg.train.device)


def main(args: Namespace) -> None:
    """Run one process of the training or of the evaluation."""
    with reading_once():  # until the data sets are built
        cfg, config_file = setup(args)
        set_everywhere(use_pictures, configured_pictures(cfg))
        if args.eval_only:
            evaluate(cfg, resume=args.resume, model=_exported_model(cfg))
        else:
            task = task_of(cfg)
            judge = partial(task.check_test_data, cfg)
            try:
                results = do_train(args, cfg, config_file.replace, judge)
            except IncompleteEvaluation as fault:
                summarize(cfg, fault.results, task)
                raise
            summarize(cfg, results, task)


def run_command(arguments: Sequence[str], prog: str) -> None:
    """Run one command line, named ``prog`` in its usage."""
    parser = argument_parser()
    parser.prog = prog
    run(main, parser.parse_args(arguments))


if __name__ == "__main__":
    run_command(sys.argv[1:], "python -m mvit_det.train")
