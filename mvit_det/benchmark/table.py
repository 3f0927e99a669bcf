"""Many configs in one table: what their paper says, and what is counted."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from mvit_det.benchmark import counts, subjects
from mvit_det.engine import load_config

DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2/"  # what detectron2:// stands for
# What a config says of its paper, under the key `published`, and the column's title.
PUBLISHED = {
    "table": "paper: table",
    "box_ap": "box AP",
    "mask_ap": "mask AP",
    "parameters": "parameters, M",
    "flops": "FLOPs, G",
}
COLUMNS = ("config", *PUBLISHED.values(), "counted: parameters, M", "FLOPs, G", "weights")


def make_rows(
    paths: Sequence[str], size: Sequence[int], device: torch.device
) -> list[dict[str, Any]]:
    """Count each config's model, one after the other, with images of ``size`` (H, W).

    A config tells by ``published`` what its paper says; all its keys may be missing.

    Returns:
        A dict per config with its file, what it says itself, and what is counted; by FLOPs.
    """
    # A mistake in any of them shows before the first is counted.
    configs = {path: load_config(path) for path in paths}
    for cfg in configs.values():
        subjects.backbone_key(cfg)
    rows = []
    for number, (path, cfg) in enumerate(configs.items(), 1):
        print(f"Counting {number} of {len(configs)}: {path}", end=" ", file=sys.stderr, flush=True)
        torch.manual_seed(0)
        model = subjects.build(cfg, "model").to(device)
        inputs, _ = subjects.make_inputs(model, (1, 3, *size), device)
        counted = counts.count(model, inputs)
        del model, inputs  # the next one needs the memory
        summary = {name: counted[name] for name in ("parameters", "flops", "not_counted")}
        rows.append({"config": path, **describe(cfg), **summary})
        print(*figures(rows[-1], "parameters", "flops"), file=sys.stderr)
    return sorted(rows, key=lambda row: row["flops"])


def describe(cfg: DictConfig) -> dict[str, Any]:
    """What a config says of itself: the published figures and where its weights come from."""
    return {
        "published": dict(cfg.get("published", {})),
        "init_checkpoint": cfg.get("train", {}).get("init_checkpoint", ""),
    }


def figures(row: dict[str, Any], *names: str) -> list[str]:
    """Counted figures as text, in millions and billions."""
    units = {"parameters": 1e6, "flops": 1e9}
    return [f"{row[name] / units[name]:.1f}" for name in names]


def cells(row: dict[str, Any]) -> list[str]:
    """A row of `make_rows` in Markdown, by `COLUMNS`; links to configs are for their folder."""
    path, published = Path(row["config"]), row["published"]
    start, trained = row["init_checkpoint"], published.get("weights")
    weights = [
        f"[{name}]({link.replace('detectron2://', DETECTRON2)})"
        for name, link in ((Path(start).stem, start), ("detector", trained))
        if link
    ]
    return [
        f"[{path.stem}]({path.name})",
        *(str(published.get(key, "-")) for key in PUBLISHED),
        *figures(row, "parameters", "flops"),
        ", ".join(weights) or "-",
    ]


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table of `make_rows`."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
