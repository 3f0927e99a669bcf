#!/usr/bin/env python
"""Compare this project with its peers: each side in a process of its own, run in turn.

    python benchmarks/compare.py                              # all rows whose peers are installed
    python benchmarks/compare.py backbone-1024 --precision float32 bfloat16
    python benchmarks/compare.py --list

Both processes of a row are alive during it, but only one works at a time: ours, the peer's, ours,
... after one run of each that is not counted. A ratio is the median of the peer's seconds over the
median of ours, with the smallest and largest ratio of a round; above 1, ours is faster. A step is
forward and backward, without an optimizer. Peak memory is that of the whole process, with the
libraries that it has loaded. ``--output FILE.json`` adds the results to those of earlier runs, and
``--table FILE.json`` prints them.
"""

import argparse
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rows import Options, Row, all_rows

SIDES = ("ours", "peer")


# --------------------------------------------------------------------------- the measured processes


def work(row: Row, side: str, options: Options) -> None:
    """Build one side of a row, run it once, then once for each line on stdin; print JSON lines."""
    import torch

    torch.set_num_threads(options.threads)
    run: Callable[[], Any] = row.build(side, options)
    run()
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        known = result if isinstance(result, dict) else {}  # of processes that the row started
        print(json.dumps({"seconds": seconds, "peak": peak, **known}), flush=True)


class Side:
    """A process that runs one side of a row."""

    def __init__(self, row: Row, side: str, options: Options):
        command = [sys.executable, __file__, "--work", row.name, side, json.dumps(asdict(options))]
        threads = dict(OMP_NUM_THREADS=str(options.threads), MKL_NUM_THREADS=str(options.threads))
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.read()

    def read(self) -> Any:
        """Return what the process prints next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"A measured process ended with status {self.process.wait()}.")
        return json.loads(line)

    def run(self) -> dict[str, float]:
        """Let the process run once; return "seconds", and "peak" in bytes."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


# ------------------------------------------------------------------------------------ the measuring


def measure(row: Row, options: Options, rounds: int) -> dict[str, Any]:
    """Run both sides of a row in turn."""
    sides = {side: Side(row, side, options) for side in SIDES}
    results: dict[str, list] = {side: [] for side in SIDES}
    loads = []
    title = f"{row.name}, {options.precision}"
    for _ in tqdm(range(rounds), desc=title, leave=False):
        for side, process in sides.items():
            loads.append(os.getloadavg()[0])
            results[side].append(process.run())
    for process in sides.values():
        process.close()
    seconds = {side: [each["seconds"] for each in runs] for side, runs in results.items()}
    return {
        "row": row.name,
        "peer": row.peer,
        **asdict(options),
        "seconds": {side: statistics.median(values) for side, values in seconds.items()},
        "ratio": statistics.median(seconds["peer"]) / statistics.median(seconds["ours"]),
        "spread": [f(p / o for p, o in zip(seconds["peer"], seconds["ours"])) for f in (min, max)],
        "peak": {side: max(each["peak"] for each in runs) for side, runs in results.items()},
        "rounds": rounds,
        "load": max(loads),
        **machine(),
    }


def machine() -> dict[str, Any]:
    """Describe processor and libraries."""
    names = ("torch", "torchvision", "timm", "detectron2", "mvit_det")
    return {"processor": processor(), "versions": {n: installed(n) for n in names}, "date": today()}


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def installed(name: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def today() -> str:
    """Return the date, such as 2026-01-31."""
    return date.today().isoformat()


def table(results: list[Mapping[str, Any]]) -> str:
    """Format results as a Markdown table, and what they were measured on."""
    rows = [
        [
            each["row"],
            each["peer"],
            each["precision"] + (", compiled" if each["compiled"] else ""),
            each["threads"],
            *(f"{each['seconds'][side]:.3g}" for side in SIDES),
            f"{each['ratio']:.2f} ({each['spread'][0]:.2f} to {each['spread'][1]:.2f})",
            f"{each['peak']['peer'] / each['peak']['ours']:.2f}",
            f"{each['load']:.1f}",
        ]
        for each in results
    ]
    heads = ["row", "peer", "precision", "threads", "ours, s", "peer, s", "ratio", "memory", "load"]
    places = {
        f"{each['processor']}, {each['date']}: "
        + ", ".join(f"{name} {number}" for name, number in each["versions"].items() if number)
        for each in results
    }
    return "\n\n".join([tabulate(rows, heads, tablefmt="github"), *sorted(places)])


def parse(rows: Mapping[str, Row]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(rows))
    parser.add_argument("--list", action="store_true", help="describe the rows")
    parser.add_argument("--precision", nargs="+", default=["float32"], metavar="DTYPE")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compiled", action="store_true", help="torch.compile on both sides")
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    parser.add_argument("--table", type=Path, metavar="FILE.json")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = [name for name in args.rows if name not in rows]
    if unknown:
        parser.error(f"there is no row {unknown[0]}: choose from {', '.join(rows)}")
    return args


def main() -> None:
    """Measure, or do what a flag asks for."""
    rows = all_rows()
    args = parse(rows)
    if args.work:
        name, side, options = args.work
        work(rows[name], side, Options(**json.loads(options)))
        return
    if args.list:
        print(tabulate([[r.name, r.peer, r.what] for r in rows.values()], ["row", "peer", "what"]))
        return
    if args.table:
        print(table(json.loads(args.table.read_text(encoding="utf-8"))))
        return
    results = (
        json.loads(args.output.read_text(encoding="utf-8"))
        if args.output and args.output.exists()
        else []
    )
    for name in args.rows or rows:
        row = rows[name]
        if importlib.util.find_spec(row.module) is None:
            print(f"{name} is left out: {row.module}, its peer, is not installed.")
            continue
        for precision in args.precision if row.precisions else args.precision[:1]:
            options = Options(precision, args.threads, args.device, args.compiled)
            results.append(measure(row, options, args.rounds))
            if args.output:
                args.output.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
