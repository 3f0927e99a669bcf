"""Command line of the check of data, config and machine, before a long training."""

import logging
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from detectron2.utils.logger import setup_logger

import mvit_det
from mvit_det.check.duplicates import Fingerprints, find_duplicates
from mvit_det.check.pool import CheckPool
from mvit_det.check.report import Report, open_report
from mvit_det.check.sheets import draw_sheets
from mvit_det.check.start import Steps, judge_start
from mvit_det.data.checks.findings import FileCheck, Finding
from mvit_det.errors import UserError, exit_on_user_error
from mvit_det.progress import progress
from mvit_det.train import argument_parser as train_parser

logger = logging.getLogger("mvit_det.check")

_SPLITS = {"train": "training", "test": "validation"}


def argument_parser() -> ArgumentParser:
    """Build the parser: the flags of train_net.py, and those of the check."""
    parser = train_parser()
    parser.description = (
        "Find what is wrong with data, config and machine before a training, with the flags of\n"
        "that training: all that its start judges, and what only reading every file tells.\n"
        "Writes check.json and contact sheets to --report, and changes nothing else. Exit status:\n"
        "0: no errors, 1: errors, which training would stop at or skip (--strict: or warnings)."
    )
    parser.add_argument(
        "--report",
        default="check_report",
        metavar="FOLDER",
        help="folder for the report (default: check_report)",
    )
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument(
        "--start-only", action="store_true", help="do not read the files of pictures and videos"
    )
    parser.add_argument(
        "--full", action="store_true", help="decode all frames of videos, instead of three of each"
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes that read files; default: one per processor; 0: only this one",
    )
    return parser


def main(args: Namespace) -> int:
    """Check, log a table, and write the report.

    Returns:
        Exit status: 1 if there are errors, or with --strict warnings; else 0.

    Raises:
        UserError: a flag or the folder for the report cannot be used.
    """
    processes = _processors() if args.processes is None else args.processes
    if processes < 0:
        raise UserError(f"--processes {processes} must be at least 0.")
    folder = Path(args.report)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--report {folder} is a file: give a folder.")
    files = {"train": 0, "test": 0}
    head = {"mvit_det": mvit_det.__version__, "config": args.config_file}
    with open_report(folder / "check.json", head) as report, CheckPool(processes) as pool:
        start = judge_start(args, report.add_sentence)
        if start is not None and not args.start_only:
            prints = {}
            for split in ["test"] if args.eval_only else _SPLITS:
                checks: list[FileCheck] = []
                with Steps(report.add_sentence)("data set"):
                    checks = collect(start.check_files(split, args.full), report)
                files[split] = len(checks)
                prints[split] = read_files(checks, report, pool, _SPLITS[split])
            if len(prints) == 2:
                compare(prints["train"], prints["test"], report, pool)
        report.close(files)
    sheets = draw_sheets(report.worst(), folder)
    totals = ", ".join(f"{report.total(each)} {each}s" for each in ("error", "warning", "note"))
    if report.counts:
        logger.info("\n%s", report.table())
    read = " and ".join(f"{count} files for {_SPLITS[split]}" for split, count in files.items())
    logger.info("Read %s: %s.", read, totals)
    for path in [folder / "check.json", *sheets]:
        logger.info("  %s", path)
    return int(bool(report.total("error") or (args.strict and report.total("warning"))))


def _processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def collect(found: Iterable[Finding | FileCheck], report: Report) -> list[FileCheck]:
    """Add the findings to the report, and return the checks."""
    checks: list[FileCheck] = []
    for each in found:
        if isinstance(each, Finding):
            report.add(each)
        else:
            checks.append(each)
    return checks


def read_files(
    checks: Sequence[FileCheck], report: Report, pool: CheckPool, what: str
) -> Fingerprints:
    """Run the checks, report their findings, and return the fingerprints of the files."""
    prints = Fingerprints()
    if checks:
        logger.info("Reading the %d files for %s", len(checks), what)
    for check, result in progress(pool.run(checks), len(checks), "files"):
        for finding in result.findings:
            report.add(finding)
        prints.add(check.path, result)
    return prints


def compare(train: Fingerprints, test: Fingerprints, report: Report, pool: CheckPool) -> None:
    """Add the files that are equal or similar in both splits."""
    findings, checks = find_duplicates(train, test)
    for finding in findings:
        report.add(finding)
    for _, result in progress(pool.run(checks), len(checks), "similar pictures"):
        for finding in result.findings:
            report.add(finding)


def run_command(arguments: Sequence[str], prog: str) -> int:
    """Run one command line, with ``prog`` as the program name, and return its exit status."""
    parser = argument_parser()
    parser.prog = prog
    args = parser.parse_args(arguments)
    setup_logger(name="mvit_det")
    with exit_on_user_error():
        return main(args)


if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:], "python -m mvit_det.check"))
