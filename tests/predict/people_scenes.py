"""A tiny action detector with random weights, its videos, and the command line on them."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from detectron2.config import LazyCall as L
from predict_scenes import finished_run, write_clip

from mvit_det.data import action_clips
from mvit_det.data.decoding.reader import open_video
from mvit_det.engine import apply_overrides, load_config
from mvit_det.predict.__main__ import argument_parser, main

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/ava/mvitv2_s_16x4_k400_ava.py")
ACTIONS = {1: "stand", 3: "bend/bow (at the waist)", 5: "jump"}  # of six
TINY = [
    "model.backbone.embed_dim=8",
    "model.backbone.input_size=[4,64,64]",
    "model.backbone.last_block_indexes=[0,1,2,3]",
    "model.num_classes=6",
    "dataloader.test.num_workers=0",
    "dataloader.test.batch_size=2",
    "train.device=cpu",
]
LEFT, RIGHT = [0.05, 0.1, 0.45, 0.9], [0.4, 0.25, 0.95, 0.75]
# of the videos a (2 s) and b (2.56 s); 2.9 is after the end, as far as lists and videos differ
SECONDS = {"a": [0.0, 1.0, 1.5], "b": [1.0, 2.9]}


def finished_action_run(folder: Path) -> SimpleNamespace:
    """A `finished_run` with test data: ``videos`` and ``boxes``."""
    (folder / "videos").mkdir()
    write_clip(folder / "videos" / "a.avi", 25, 12.5, seed=1)
    write_clip(folder / "videos" / "b.avi", 32, 12.5, seed=2)
    rows = [f"{name},{s},{','.join(map(str, box))},{action},0"
            for name, seconds in SECONDS.items()
            for s in seconds
            for box, action in ((LEFT, 1), (LEFT, 3), (RIGHT, 5))]  # fmt: skip
    (folder / "boxes.csv").write_text("\n".join(rows) + "\na,0.5\n")
    (folder / "names.txt").write_text("".join(f"{k}: {name}\n" for k, name in ACTIONS.items()))
    cfg = apply_overrides(load_config(CONFIG), [*TINY, f"train.output_dir={folder}"])
    cfg.dataloader.test.dataset = L(action_clips)(
        videos=str(folder / "videos"),
        actions=str(folder / "boxes.csv"),
        label_map=str(folder / "names.txt"),
        num_classes=6,
        name=None,
    )
    cfg.categories = [{"id": k, "name": name} for k, name in ACTIONS.items()]
    run = finished_run(cfg, folder)
    return SimpleNamespace(**vars(run), videos=folder / "videos", boxes=folder / "boxes.csv")


def predict(ava, output, *words) -> int:
    line = ["--config-file", str(ava.config), *map(str, words), "--output", str(output)]
    return main(argument_parser().parse_intermixed_args(line))


def read(output) -> tuple[list, list]:
    rows = json.loads((output / "predictions.json").read_text())
    return rows, json.loads((output / "images.json").read_text())["images"]


def frames_of(path) -> np.ndarray:
    with open_video(path) as video:
        return video.frames(range(len(video)))
