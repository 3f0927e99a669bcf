"""The gain of pre-training for the quickstart: detection with and without its weights.

    python benchmarks/compare.py pretraining           # 3 seeds x 1300 iterations: half an hour
    python benchmarks/compare.py pretraining --iterations 400 --seeds 1 2 3 4 5

Per seed: configs/quickstart_classification.py, then configs/quickstart_pretrained.py from its last
weights, and configs/quickstart.py from random ones, with equal iterations, data and rates. A run
whose results are already in the output folder is not repeated, so a stopped comparison continues.
Seconds are those of a whole process, including data generation.
"""

import json
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
METRICS = ("bbox/AP", "bbox/AP50", "segm/AP", "segm/AP50")


def train_once(config: str, folder: Path, overrides: list[str]) -> dict[str, float]:
    """Train a config into ``folder``; return its last results and "seconds"."""
    report = folder / "comparison.json"
    if not report.exists():
        command = [sys.executable, str(ROOT / "train_net.py")]
        command += ["--config-file", str(ROOT / "configs" / config), f"train.output_dir={folder}"]
        command += ["--resume"] * (folder / "last_checkpoint").exists() + overrides
        print(" ".join(command), flush=True)
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        report.write_text(json.dumps(dict(last_results(folder), seconds=seconds)), "utf-8")
    return json.loads(report.read_text("utf-8"))


def last_results(folder: Path) -> dict[str, float]:
    """Read the last value of every metric that a run has logged."""
    results = {}
    for line in (folder / "metrics.json").read_text("utf-8").splitlines():
        results.update({k: v for k, v in json.loads(line).items() if "/" in k})
    return results


def format_range(values: list[float]) -> str:
    """Format mean and range: "mean (smallest to largest)"."""
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Train all models, or read their results; print the comparison and return the results."""
    parser = ArgumentParser("compare.py pretraining", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--iterations", type=int, default=1300, help="iterations of detection")
    parser.add_argument("--output", type=Path, default=Path("output/pretraining"))
    parser.add_argument(
        "--one-classifier", action="store_true", help="use the classifier of the first seed for all"
    )
    args = parser.parse_args(arguments)

    classifiers, rows = [], {"without": [], "with": []}
    for seed in args.seeds:
        classifier_seed = args.seeds[0] if args.one_classifier else seed
        classifier = args.output / f"classifier-seed{classifier_seed}"
        classifiers.append(
            train_once(
                "quickstart_classification.py", classifier, [f"train.seed={classifier_seed}"]
            )
        )
        detection = [
            f"train.seed={seed}",
            f"train.max_iter={args.iterations}",
            f"train.eval_period={args.iterations}",
        ]
        name = f"{args.iterations}-seed{seed}"
        weights = f"train.init_checkpoint={classifier / 'model_final.pth'}"
        rows["without"].append(
            train_once("quickstart.py", args.output / f"without-{name}", detection)
        )
        rows["with"].append(
            train_once(
                "quickstart_pretrained.py", args.output / f"with-{name}", [*detection, weights]
            )
        )

    print(f"{args.iterations} iterations, seeds {args.seeds}: mean (smallest to largest)")
    accuracy = format_range([run["classification/top1"] for run in classifiers])
    seconds = format_range([run["seconds"] for run in classifiers])
    print(f"classifier: top-1 {accuracy}, seconds {seconds}")
    for pretraining, runs in rows.items():
        figures = [f"{name} {format_range([run[name] for run in runs])}" for name in METRICS]
        seconds = format_range([run["seconds"] for run in runs])
        print(f"{pretraining} pre-training: {', '.join(figures)}, seconds {seconds}")
    gains = [
        f"{name} {format_range([a[name] - b[name] for a, b in zip(rows['with'], rows['without'])])}"
        for name in METRICS
    ]
    print(f"gain per seed: {', '.join(gains)}")
    return dict(rows, classifier=classifiers)
