"""Tabulate many configs: published figures next to counted ones."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from mvit_det.benchmark import counts, subjects
from mvit_det.checkpoint.published import ZOO, ZOO_PREFIX, find
from mvit_det.engine import load_config
from mvit_det.tasks import task_of

# Keys of a config's `published` -> titles of columns. An accuracy is a column if any config has it.
ACCURACIES = {
    "box_ap": "box AP",
    "mask_ap": "mask AP",
    "top1": "top-1",
    "top5": "top-5",
    "top1_resize": "top-1, resized",
    "center": "mAP, center",
    "full": "mAP, full",
}
SIZES = {"parameters": "parameters, M", "flops": "FLOPs, G"}
COUNTED = ("counted: parameters, M", "FLOPs, G")


def make_rows(
    paths: Sequence[str],
    size: Sequence[int] | None,
    device: torch.device,
    allow_targets: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Count each config's model, one after the other.

    A config's ``published`` has the figures of its paper; any of its keys may be absent.

    Args:
        paths: config files.
        size: height and width of the input in pixels; None for each model's nominal size.
        device: where detectors are counted.
        allow_targets: see `load_config`.

    Returns:
        One dict per config with its file, the values it states and the counts; sorted by FLOPs.

    Raises:
        UserError: a config cannot be loaded or has no model.
    """
    # All configs are loaded first, so that a mistake in any of them shows early.
    configs = {path: load_config(path, allow_targets) for path in paths}
    shapes = {path: subjects.input_shape(cfg, 1, size) for path, cfg in configs.items()}
    rows = []
    for number, (path, cfg) in enumerate(configs.items(), 1):
        print(f"Counting {number} of {len(configs)}: {path}", end=" ", file=sys.stderr, flush=True)
        torch.manual_seed(0)
        task = task_of(cfg)
        model = subjects.build_for_counting(cfg, "model", device)
        counted = counts.count(model, task, shapes[path])
        row = {"config": path, "kind": task.kind, "input": shapes[path], **stated_values(cfg)}
        row.update({name: counted[name] for name in ("parameters", "flops", "not_counted")})
        print(*format_counts(row), file=sys.stderr)
        rows.append(row)
    return sorted(rows, key=lambda row: row["flops"])


def stated_values(cfg: DictConfig) -> dict[str, Any]:
    """Collect what a config states: published figures, test views, initial checkpoint."""
    return {
        "published": dict(cfg.get("published", {})),
        "views": subjects.video_views(cfg),
        "init_checkpoint": cfg.get("train", {}).get("init_checkpoint", ""),
    }


def format_counts(row: dict[str, Any]) -> list[str]:
    """Format counted parameters (M) and FLOPs (G) with the decimals that papers use."""
    digits = 1 if row["kind"] == "detector" else 3
    return [f"{row['parameters'] / 1e6:.{digits}f}", f"{row['flops'] / 1e9:.{digits}f}"]


def format_input_size(row: dict[str, Any]) -> str:
    """Format the input size as "800 x 1280", or "16 x 224 x 224" with frames first."""
    return " x ".join(map(str, row["input"][2:]))


def format_weights(row: dict[str, Any]) -> str:
    """Format links to the initial checkpoint and to the published trained weights, if any."""
    sources = {"start": row["init_checkpoint"], "trained": row["published"].get("weights")}
    links = []
    for role, source in sources.items():
        if not source:
            continue
        published = find(source)
        link = published.url if published else source.replace(ZOO_PREFIX, ZOO)
        title = Path(source).stem if role == "start" else row["kind"]
        links.append(f"[{title}]({link})" if "://" in link else f"`{source}`")
    return ", ".join(links) or "-"


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `make_rows` as Markdown; links start from the folder of all configs."""
    paths = [Path(row["config"]).resolve() for row in rows]
    folder = os.path.commonpath([path.parent for path in paths])
    accuracies = [key for key in ACCURACIES if any(key in row["published"] for row in rows)]
    published = {"table": "paper: table", **{key: ACCURACIES[key] for key in accuracies}, **SIZES}
    several_sizes = len({format_input_size(row) for row in rows}) > 1
    titles = [*published.values(), *COUNTED]
    if any(row["views"] for row in rows):
        titles = [f"{title} x crops x clips" if "FLOPs" in title else title for title in titles]
    lines = [["config", *["input"] * several_sizes, *titles, "weights"]]
    lines.append(["---"] * len(lines[0]))
    for row, path in zip(rows, paths, strict=True):
        size = [format_input_size(row)] * several_sizes
        cells = [str(row["published"].get(key, "-")) for key in published]
        cells += format_counts(row)
        for column in (len(published) - 1, -1):  # the paper's and our FLOPs
            if row["views"] and cells[column] != "-":
                cells[column] = " x ".join(map(str, (cells[column], *row["views"])))
        config = f"[{path.stem}]({path.relative_to(folder).as_posix()})"
        lines.append([config, *size, *cells, format_weights(row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
