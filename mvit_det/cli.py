"""The console command ``mvit-det``, whose subcommands are the package's command lines."""

import importlib
import sys
from argparse import REMAINDER, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence

import mvit_det

# subcommand -> (module with `run_command`, what it does)
COMMANDS = {
    "train": ("mvit_det.train", "train or evaluate the model of a config"),
    "check": (
        "mvit_det.check.__main__",
        "find faults of data, config and machine, before training",
    ),
    "predict": ("mvit_det.predict.__main__", "detect or classify what is in images and videos"),
    "evaluate": ("mvit_det.evaluation.__main__", "evaluate saved predictions, without a model"),
    "export": ("mvit_det.export.__main__", "write a model as files that run without PyTorch"),
    "benchmark": (
        "mvit_det.benchmark.__main__",
        "measure the FLOPs, time and memory of the model of a config",
    ),
    "checkpoint": ("mvit_det.checkpoint.__main__", "describe or convert a file of weights"),
}


def argument_parser() -> ArgumentParser:
    """Build the parser of the subcommand; all further arguments are passed on to it."""
    listed = "\n".join(f"  {word:12}{what}" for word, (_, what) in COMMANDS.items())
    parser = ArgumentParser(
        prog="mvit-det",
        description=mvit_det.__doc__.splitlines()[0],
        epilog=f"commands (`mvit-det COMMAND --help` lists the flags of one):\n{listed}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mvit_det {mvit_det.__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=" | ".join(COMMANDS))
    parser.add_argument("arguments", nargs=REMAINDER, help="flags of the command")
    return parser


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run ``mvit-det COMMAND ...``.

    Args:
        arguments: the words after ``mvit-det``; by default those of this process.

    Returns:
        The exit status; None for success.
    """
    args = argument_parser().parse_args(arguments)
    module = importlib.import_module(COMMANDS[args.command][0])
    return module.run_command(args.arguments, prog=f"mvit-det {args.command}")


if __name__ == "__main__":
    sys.exit(main())
