#!/usr/bin/env python
"""The paper's Tables 4 and 6 on a laptop: kinds of attention and of position, accuracy over time.

    python benchmarks/ablations.py                     # 10 kinds x 3 seeds: a night on two cores
    python benchmarks/ablations.py --quick             # one seed, shorter: half an hour, no ranking
    python benchmarks/ablations.py --kinds pooling hwin --seeds 1 2 3 4 5
    python benchmarks/ablations.py --size 256 --output output/ablations-256

Every training is configs/quickstart.py in a process of its own, with what `KINDS` changes in its
backbone: equal pictures, iterations and rates, seed by seed. It is detection, not classification:
the grid is four times as large, so that kinds differ in time, a shape may lie across windows, and
accuracy is far from its limit, unlike the 92 % of the classifier's quickstart. Time is that of an
iteration without data loading, the median of a training, then of its seeds; the kinds take turns,
so that whatever else the machine does in a night slows all of them.

Results are kept in ablations.json of the output folder as they come: the same command continues an
interrupted night with the training that was interrupted, further kinds or seeds are added, and
after each seed the table is printed and ablations.png drawn.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mvit_det  # noqa: F401  before detectron2, which it makes importable

# isort: split
import torch
from measuring import THREADS
from results import processor
from rows.pretraining import ROOT, format_range, train_once
from tabulate import tabulate

from mvit_det.engine import apply_overrides, load_config
from mvit_det.engine.curves import read_curves
from mvit_det.engine.train import build_part
from mvit_det.errors import UserError, exit_on_user_error
from mvit_det.evaluation.drawing.figures import new_figure, save_figure
from mvit_det.files import atomic_file

CONFIG = "quickstart.py"
BACKBONE = "model.backbone.bottom_up"
# Without the release's coarser keys in some blocks, so that kinds differ by their name alone.
COMMON = ["coarse_global_kv=false"]
WHOLE = ["adaptive_kv_stride=1", "full_pooling=q"]  # no pooling of keys and values
POOLED_HWIN = "pooling-hwin"
ABSOLUTE = ["use_abs_pos=true", "pretrain_use_cls_token=false"]

# Table of the paper -> kind -> what it changes in the backbone. Kinds of attention have decomposed
# relative position, kinds of position hybrid windows of pooled keys: that kind is in both tables.
KINDS: dict[str, dict[str, list[str]]] = {
    "Table 4, attention": {
        "full": ["attention=full", *WHOLE],
        "windows": ["attention=windows", *WHOLE],
        "swin": ["attention=swin", *WHOLE],
        "hwin": ["attention=hwin", *WHOLE],
        "pooling": ["attention=full"],
        POOLED_HWIN: [],
    },
    "Table 6, position": {
        "no-position": ["use_rel_pos=false"],
        "absolute": ["use_rel_pos=false", *ABSOLUTE],
        "joint": ["rel_pos_tables=[hw]"],
        "decomposed-absolute": ABSOLUTE,
    },
}
CHANGES = {kind: changes for table in KINDS.values() for kind, changes in table.items()}
METRICS, LOSSES = ("bbox/AP", "segm/AP"), ("first_loss", "last_loss")
FULL_NIGHT, QUICK = (2600, [1, 2, 3]), (800, [1])  # iterations and seeds
FEWEST = 8  # iterations; the first three are not timed
NO_RANKING = "One training per kind, or a short one, ranks nothing: this only tries the command."
RANKING = "Kinds whose ranges overlap are not told apart."

Runs = dict[str, dict[str, dict[str, float]]]  # kind -> seed -> results


def overrides_of(kind: str, settings: dict[str, Any]) -> list[str]:
    """Return the overrides of a kind, those of the command line last."""
    size, iterations = settings["size"], settings["iterations"]
    changes = [*COMMON, *CHANGES[kind], f"img_size={size}", f"pretrain_img_size={size}"]
    resized = ("dataset.image_size", "mapper.augmentations.0.short_edge_length")
    return [
        *(f"{BACKBONE}.{change}" for change in changes),
        *(f"dataloader.{split}.{key}={size}" for split in ("train", "test") for key in resized),
        f"train.max_iter={iterations}",
        f"train.eval_period={iterations}",
        f"train.log_period={max(1, min(20, iterations // 4))}",
        "train.checkpointer.period=0",  # at the end only
        "train.best_metric=",
        *settings["overrides"],
    ]


def build_backbone(kind: str, settings: dict[str, Any]) -> Any:
    """Build the backbone of a kind, `mvit_det.detection.MViT`.

    Raises:
        UserError: it cannot be built, or a window is no smaller than its grid.
    """
    cfg = apply_overrides(load_config(str(ROOT / "configs" / CONFIG)), overrides_of(kind, settings))
    backbone: Any = build_part(cfg, BACKBONE)
    for spec in backbone.plan:
        if spec.window and any(w >= n for w, n in zip(spec.window, spec.grid)):
            grid, window = ("x".join(map(str, sides)) for sides in (spec.grid, spec.window))
            raise UserError(
                f"the grid of {grid} tokens is no larger than the window of {window}, so that "
                f"{kind} would be full attention and compare nothing: give a larger --size than "
                f"{settings['size']}, or a smaller {BACKBONE}.adaptive_window_size."
            )
    return backbone


def measure(kind: str, seed: int, settings: dict[str, Any], output: Path) -> dict[str, float]:
    """Train once; return the `METRICS` in percent, "seconds" of an iteration, `LOSSES` and "load".

    Raises:
        UserError: the training has failed.
    """
    folder = output / f"{kind}-seed{seed}"
    try:
        results = train_once(CONFIG, folder, [*overrides_of(kind, settings), f"train.seed={seed}"])
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"the training of {kind} ended with status {error.returncode}: see {folder}/log.txt."
        ) from error
    curves = read_curves(folder / "metrics.json")
    time, loading, loss = (curves[key][1] for key in ("time", "data_time", "total_loss"))
    seconds = statistics.median(time.tolist()) - statistics.median(loading.tolist())
    load = getattr(os, "getloadavg", lambda: [math.nan])()[0]  # which Windows has not
    measured = {"seconds": seconds, "load": load, **dict(zip(LOSSES, (loss[0], loss[-1])))}
    return {**{name: results[name] for name in METRICS}, **measured}


def read(file: Path, settings: dict[str, Any]) -> Runs:
    """Read the results of an earlier start.

    Raises:
        UserError: they were measured otherwise.
    """
    if not file.exists():
        return {}
    content = json.loads(file.read_text("utf-8"))
    other = [key for key, value in settings.items() if content["settings"].get(key) != value]
    if other:
        raise UserError(
            f"{file} has results of another {', '.join(other)} than this start: give another "
            "--output, or the same flags."
        )
    return content["runs"]


def write(file: Path, settings: dict[str, Any], runs: Runs) -> None:
    """Write the results so far."""
    with atomic_file(file) as partial:
        partial.write_text(json.dumps({"settings": settings, "runs": runs}, indent=1), "utf-8")


def columns(runs: Runs) -> dict[str, dict[str, list[float]]]:
    """Return the results of each kind by name, over its seeds."""
    return {
        kind: {
            name: [run[name] for run in of_kind.values()] for name in next(iter(of_kind.values()))
        }
        for kind, of_kind in runs.items()
    }


def table(runs: Runs) -> str:
    """Format the results as a Markdown table."""
    rows = [
        [
            name,
            kind if kind != POOLED_HWIN else f"{kind}, decomposed",
            len(of_kind["seconds"]),
            *(format_range(of_kind[metric]) for metric in METRICS),
            f"{1e3 * statistics.median(of_kind['seconds']):.0f}",
            " to ".join(f"{statistics.mean(of_kind[key]):.2f}" for key in LOSSES),
        ]
        for name, kinds in KINDS.items()
        for kind, of_kind in columns(runs).items()
        if kind in kinds
    ]
    heads = ("table", "kind", "seeds", "box AP", "mask AP", "ms per iteration", "loss")
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def draw(runs: Runs, path: Path, title: str) -> None:
    """Draw box AP over the time of an iteration, one panel per table, with the seeds' range."""
    measured = columns(runs)
    # those that there are, with the kind that belongs to each table
    panels = {name: {*kinds, POOLED_HWIN} & measured.keys() for name, kinds in KINDS.items()}
    panels = {name: kinds for name, kinds in panels.items() if kinds}
    figure = new_figure(5.5 * len(panels), 5)
    figure.suptitle(title, fontsize=10)
    axes_of = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, kinds) in zip(axes_of, panels.items()):
        for kind in sorted(kinds, key=list(CHANGES).index):
            scores = measured[kind]["bbox/AP"]
            mean = statistics.mean(scores)
            time = 1e3 * statistics.median(measured[kind]["seconds"])
            reach = [[mean - min(scores)], [max(scores) - mean]]
            label = "decomposed" if kind == POOLED_HWIN and kind not in KINDS[name] else kind
            axes.errorbar(time, mean, reach, marker="o", capsize=3, label=label)
        axes.set(title=name, xlabel="ms per iteration")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        axes.set_ylabel("box AP: mean and range of the seeds")
    save_figure(figure, path)


def report(runs: Runs, settings: dict[str, Any], output: Path, quick: bool) -> None:
    """Print the table and draw the picture; say what they cannot tell."""
    iterations, seeds = FULL_NIGHT
    few = quick or settings["iterations"] < iterations
    few |= any(len(of_kind) < len(seeds) for of_kind in runs.values())
    load = max(run["load"] for of_kind in runs.values() for run in of_kind.values())
    words = f"{settings['iterations']} iterations at {settings['size']} pixels, "
    words += f"threads: {settings['threads']} of {settings['processor']}, load up to {load:.1f}"
    caution = NO_RANKING if few else RANKING
    print(f"\n{table(runs)}\n\n{words}. {caution}", flush=True)
    draw(runs, output / "ablations.png", f"{words}\n{caution}")


def main(arguments: Sequence[str] | None = None) -> Runs:
    """Train what has no results yet, report after each seed, and return all results."""
    names = f"default: all of {', '.join(CHANGES)}"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short training per kind")
    parser.add_argument(
        "--kinds", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="KIND", help=names
    )
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="default: 1 2 3")
    parser.add_argument("--iterations", type=int, metavar="N", help=f"default: {FULL_NIGHT[0]}")
    parser.add_argument("--size", type=int, default=128, metavar="PIXELS", help="default: 128")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--output", type=Path, help="folder of results and trainings")
    parser.add_argument("opts", nargs="*", help="key=value: further overrides of the config")
    args = parser.parse_args(arguments)

    iterations, seeds = QUICK if args.quick else FULL_NIGHT
    if args.iterations is not None:
        iterations = args.iterations
    if iterations < FEWEST or args.threads < 1:
        raise UserError(f"--iterations must be {FEWEST} or more, and --threads 1 or more.")
    output = args.output or Path("output") / ("ablations-quick" if args.quick else "ablations")
    settings = {
        "iterations": iterations,
        "size": args.size,
        "overrides": args.opts,
        "threads": args.threads,
        "processor": processor(),
        "torch": torch.__version__,
    }
    for kind in args.kinds:
        build_backbone(kind, settings)
    file = output / "ablations.json"
    runs = read(file, settings)
    output.mkdir(parents=True, exist_ok=True)
    os.environ.update(dict.fromkeys(THREADS, str(args.threads)))
    write(file, settings, runs)
    seeds = args.seeds or seeds
    for seed in seeds:
        missing = [kind for kind in args.kinds if str(seed) not in runs.get(kind, {})]
        for kind in missing:
            runs.setdefault(kind, {})[str(seed)] = measure(kind, seed, settings, output)
            write(file, settings, runs)
        if missing or seed == seeds[-1]:
            report(runs, settings, output, args.quick)
    return runs


if __name__ == "__main__":
    with exit_on_user_error():
        main()
