"""The video quickstart: real files, views and evaluation; nothing that reverses a motion."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from PIL import Image
from quickstart_runs import check_arrangements, two_iterations
from rows import motion

from mvit_det.data.decoding.reader import open_video
from mvit_det.data.synthetic.motion_clips import MOTIONS
from mvit_det.engine import apply_overrides, load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "quickstart_video.py")
TINY = [
    f"{loader}.{key}"
    for loader in ("dataloader.train.dataset", "dataloader.test.dataset")
    for key in ("num_train=12", "num_val=10", "num_frames=36")
]
TINY += ["dataloader.train.num_workers=0", "dataloader.test.num_workers=0"]
TINY += ["dataloader.train.total_batch_size=4"]

pytestmark = pytest.mark.usefixtures("datasets_folder", "quick_pictures")


def config(*overrides: str):
    return apply_overrides(load_config(CONFIG), [*TINY, *overrides])


@pytest.fixture(scope="module")
def output(datasets_folder, quick_pictures, tmp_path_factory) -> Path:
    return two_iterations(CONFIG, TINY, tmp_path_factory.mktemp("run"))


def test_it_trains_and_reports_by_class(output):
    text = (output / "metrics.json").read_text()
    assert "total_loss" in text and "classification/top1" in text
    assert all(f"classification/top1-{name}" in text for name in MOTIONS)
    with Image.open(output / "pictures" / "overview.png") as picture:
        assert min(picture.size) > 100


def test_training_clips_are_those_of_the_files():
    """Without cropping: never mirrored, which would change the class."""
    overrides = ("scale=[1,1]", "ratio=[1.25,1.25]")
    cfg = config(*(f"dataloader.train.mapper.transform.{text}" for text in overrides))
    mapper, data = (instantiate(cfg.dataloader.train[key]) for key in ("mapper", "dataset"))
    for item in list(data)[:8]:
        inputs = mapper(item)["inputs"]
        assert inputs.shape == (3, 8, 64, 64)
        with open_video(item["file_name"]) as video:
            assert len(video) == 36 and round(video.fps, 6) == 30
            frames = torch.from_numpy(video.frames(range(36)) / 255).permute(0, 3, 1, 2)
        whole = torch.nn.functional.interpolate(frames.float(), size=(64, 64), mode="bilinear")
        first = inputs[:, 0] * 0.225 + 0.45
        straight, mirrored = (
            (first - frames).abs().mean(dim=(1, 2, 3)).min() for frames in (whole, whole.flip(-1))
        )
        assert straight < 0.03 and mirrored > 2 * straight


def test_clips_of_a_video_have_two_places_and_three_crops():
    cfg = config()
    loader = instantiate(cfg.dataloader.test)
    batch = next(iter(loader))
    assert batch["inputs"].shape == (16, 3, 3, 8, 64, 64)
    assert batch["clip"].tolist() == [0, 1] * 8 and batch["clips"].tolist() == [2] * 16
    first, second = batch["inputs"][0], batch["inputs"][1]
    assert not torch.equal(first, second) and not torch.equal(first[0], first[2])
    with torch.no_grad():
        scores = instantiate(cfg.model).eval()(batch)
    assert scores.shape == (16, 3, 10)


def test_one_override_repeats_a_single_frame():
    cfg = config(*motion.ONE_FRAME)
    train, test = next(iter(instantiate(cfg.dataloader.train))), instantiate(cfg.dataloader.test)
    for inputs in (train["inputs"], next(iter(test))["inputs"][:, 1]):
        assert torch.equal(inputs, inputs[:, :, :1].expand_as(inputs))
    moving = next(iter(instantiate(config().dataloader.train)))["inputs"]
    assert not torch.equal(moving, moving[:, :, :1].expand_as(moving))


def test_rearranged_frames():
    times = np.arange(48) / 30
    sampling = instantiate(config().dataloader.train.mapper.sampling)
    plain = sampling.test(times, 1, 2)
    indices = {
        name: motion.Rearranged(sampling, name).test(times, 1, 2) for name in motion.ARRANGEMENTS
    }
    check_arrangements(indices, plain)


def test_the_ablation_counts_right_and_opposite_answers(output, monkeypatch, capsys):
    """With a model that knows the labels, and one that predicts the opposite of each."""
    moves = list(MOTIONS.values())
    opposite = np.array([moves.index((dial, -way)) for dial, way in moves])
    labels = np.arange(10).repeat(2)
    final = output / "model_final.pth"
    for answers, expected in ((labels, (100, 0)), (opposite[labels], (0, 100))):
        monkeypatch.setattr(
            motion, "predict_classes", lambda *_, answers=answers: (labels, answers)
        )
        assert motion.measure_arrangement(motion.VIDEOS, config(), final, "backwards") == expected
    monkeypatch.undo()
    motion.main(["--weights", str(output / "model_final.pth"), *TINY])
    table = capsys.readouterr().out
    assert all(name in table for name in motion.ARRANGEMENTS)
    assert "Chance is 10 %" in table


def test_the_ablation_measures_as_the_evaluation_does(output):
    reported = json.loads((output / "metrics.json").read_text().splitlines()[-1])
    right, _ = motion.measure_arrangement(
        motion.VIDEOS, config(), output / "model_final.pth", "unchanged"
    )
    assert right == pytest.approx(reported["classification/top1"])
