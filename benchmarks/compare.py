#!/usr/bin/env python
"""Compare this project with its peers: each side in a process of its own, run in turn.

    python benchmarks/compare.py                              # all rows whose peers are installed
    python benchmarks/compare.py backbone-1024 --precision float32 bfloat16
    python benchmarks/compare.py --list
    python benchmarks/compare.py motion --help                # an experiment has its own flags

Both processes of a row are alive during it, but only one works at a time: ours, the peer's, ours,
... after one run of each that is not counted. A ratio is the median of the peer's seconds over the
median of ours, with the smallest and largest ratio of a round; above 1, ours is faster. A step is
forward and backward, without an optimizer. Peak memory is that of the whole process, with the
libraries that it has loaded, on a GPU that of its tensors. Both sides of a network have the same
weights and inputs: the difference is the largest of their outputs, relative to the largest output
if that is above 1. ``--output FILE.json`` adds the results to those of earlier runs, ``--table
FILE.json`` prints them, and ``--page`` writes them to a page of the documentation.
"""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import results
from measuring import measure, work
from rows import Experiment, Options, Row, all_rows
from tabulate import tabulate

import mvit_det
from mvit_det.errors import UserError, exit_on_user_error, printable

PRECISIONS = ("float32", "bfloat16")


def argument_parser(names: str) -> argparse.ArgumentParser:
    """Build the parser, whose help has the names of the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=names)
    parser.add_argument("--list", action="store_true", help="describe the rows")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--compiled", action="store_true", help="torch.compile on both sides")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the code")
    parser.add_argument(
        "--ava-official",
        type=Path,
        metavar="FOLDER",
        help="Evaluation of a clone of https://github.com/activitynet/ActivityNet",
    )
    parser.add_argument(
        "--videos", nargs="+", type=Path, default=[], metavar="FILE", help="to decode"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="add the results to it")
    parser.add_argument("--table", type=Path, metavar="FILE.json", help="print its results")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="write the table to it, too")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    return parser


def check(args: argparse.Namespace, rows: Mapping[str, Row | Experiment]) -> None:
    """Refuse arguments that cannot be used, and make the folder of the results.

    Raises:
        UserError: one of them.
    """
    for name in args.rows:
        if name not in rows:
            raise UserError(f"there is no row {printable(name)}: choose from {', '.join(rows)}.")
        if isinstance(rows[name], Experiment):
            raise UserError(f"{name} is an experiment: give its name first, then its own flags.")
    if args.threads < 1 or args.rounds < 1:
        raise UserError("--threads and --rounds must be 1 or more.")
    if args.device == "cuda":
        from mvit_det.engine import open_device

        open_device(args.device, "--device ")
    official = args.ava_official
    if official and not (official / "get_ava_performance.py").is_file():
        raise UserError(
            f"there is no get_ava_performance.py in --ava-official {printable(official)}: give the "
            "folder Evaluation of a clone of https://github.com/activitynet/ActivityNet."
        )
    for path in (*args.videos, args.table, args.page):
        if path and not path.is_file():
            raise UserError(f"there is no file {printable(path)}.")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)


def left_out(row: Row, options: Options) -> str:
    """Return why a row cannot be run; "" if it can."""
    if row.needs and not getattr(options, row.needs):
        return f"it needs --{row.needs.replace('_', '-')}"
    root = row.module.partition(".")[0]
    there = mvit_det.host() == "real" if root == "detectron2" else importlib.util.find_spec(root)
    if not there:
        return f"{root}, its peer, is not installed"
    missing = [name for name in row.packages if importlib.util.find_spec(name) is None]
    return f"it needs {', '.join(missing)}" if missing else ""


def runs(
    args: argparse.Namespace, rows: Mapping[str, Row | Experiment]
) -> Iterator[tuple[Row, Options]]:
    """Yield the rows to run, each in the precisions that it has, and say what is left out."""
    given = Options(
        threads=args.threads,
        device=args.device,
        compiled=args.compiled,
        quick=args.quick,
        ava_official=str(args.ava_official.resolve()) if args.ava_official else "",
        videos=[str(path.resolve()) for path in args.videos],
    )
    for row in map(rows.__getitem__, args.rows or rows):
        if not isinstance(row, Row) or row.named and not args.rows:
            continue
        reason = left_out(row, given)
        if reason:
            print(f"{row.name} is left out: {reason}.", flush=True)
        elif row.precisions:
            yield from ((row, replace(given, precision=name)) for name in args.precision)
        else:
            device = given.device if row.anywhere else "cpu"
            yield row, replace(given, precision="-", device=device, compiled=False)


def main() -> None:
    """Measure, or do what a flag asks for."""
    rows = all_rows()
    experiment = rows.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if isinstance(experiment, Experiment):
        experiment.run(sys.argv[2:])
        return
    args = argument_parser(", ".join(rows)).parse_args()
    if args.work:
        name, side, options = args.work
        work(rows[name], side, Options(**json.loads(options)))
        return
    check(args, rows)
    if args.list:
        columns = ("row", "peer", "what")
        print(tabulate([[r.name, getattr(r, "peer", ""), r.what] for r in rows.values()], columns))
        return
    file = args.table or args.output
    done = results.read(file) if file and file.exists() else []
    for row, options in () if args.table else runs(args, rows):
        done = results.add(done, measure(row, options, args.rounds))
        if args.output:
            args.output.write_text(json.dumps(done, indent=1), encoding="utf-8")
    print(results.table(done))
    if args.page:
        results.write_page(args.page, done)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
