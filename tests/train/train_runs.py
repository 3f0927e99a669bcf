"""Shared by the tests of train_net.py: start it, stop it, read its log."""

import json
from pathlib import Path

import pytest

import train_net  # noqa: E402  the script, as a module
from mvit_det.engine.trainer import Trainer
from mvit_det.train import run_command

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = str(ROOT / "configs" / "quickstart.py")
TINY = [
    "model.backbone.bottom_up.embed_dim=8",
    "model.backbone.out_channels=16",
    "model.roi_heads.box_head.fc_dims=[16,16]",
    "model.roi_heads.mask_head.conv_dims=[16,16]",
    "dataloader.train.total_batch_size=2",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
]
SMALL_DATA = [
    "dataloader.train.dataset.num_train=8",
    "dataloader.train.dataset.num_val=4",
    "dataloader.test.dataset.num_train=8",
    "dataloader.test.dataset.num_val=4",
]


def words(*arguments: str | Path) -> list[str]:
    """A command line; a folder stands for the config that its run has saved."""
    config = "--config-file"
    parts = ([config, str(a / "config.yaml")] if isinstance(a, Path) else [a] for a in arguments)
    return [word for part in parts for word in part]


def start(*arguments: str | Path) -> None:
    """train_net.py in this process, without the launcher."""
    train_net.main(train_net.argument_parser().parse_args(words(*arguments)))


def command(*arguments: str) -> None:
    """train_net.py as a command, for a forked process; without drawing plots."""
    from matplotlib.figure import Figure

    Figure.savefig = lambda *_, **__: None
    run_command(arguments, "train_net.py")


def stopped_at(iteration: int, *arguments: str) -> None:
    """The same, ended by an exception before that iteration."""
    original = Trainer.run_step

    def run_step(self):
        if self.iter == iteration:
            raise InterruptedError
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "run_step", run_step)
        with pytest.raises(InterruptedError):
            start(*arguments)


def lines(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]


def logged(output: Path) -> dict[int, dict[str, float]]:
    """iteration -> numbers, without times; the later of two lines counts."""
    rows: dict[int, dict[str, float]] = {}
    for row in lines(output):
        kept = {key: value for key, value in row.items() if "time" not in key and "eta" not in key}
        rows.setdefault(row["iteration"], {}).update(kept)
    return rows


def custom_flags(folder: Path) -> list[str]:
    """The four flags of such data, each with its value."""
    return [
        argument
        for split in ("train", "val")
        for kind, path in (("json", "annotations.json"), ("images", "images"))
        for argument in (f"--{split}-{kind}", str(folder / split / path))
    ]
