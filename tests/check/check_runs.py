"""Shared by the tests of the check: run it, and read its report."""

import json
from pathlib import Path

from mvit_det.check.__main__ import run_command

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "model.backbone.bottom_up.embed_dim=8",
    "model.backbone.out_channels=16",
    "model.roi_heads.box_head.fc_dims=[16,16]",
    "model.roi_heads.mask_head.conv_dims=[16,16]",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
]


def check(output: Path, config: str, *arguments: str) -> tuple[int, dict]:
    """Exit status, and the content of check.json."""
    words = ["--config-file", str(ROOT / "configs" / config), "--report", str(output), *arguments]
    # a quickstart may have been run here, whose folder a training would refuse
    words.append(f"train.output_dir={output / 'run'}")
    status = run_command(words, "check")
    return status, json.loads((output / "check.json").read_text())


def found(report: dict) -> list[tuple]:
    """Severity, kind, name of the file and values of the ids of all findings, sorted."""
    return sorted(
        (x["severity"], x["kind"], Path(x.get("file", "")).name, *x.get("ids", {}).values())
        for x in report["findings"]
    )
