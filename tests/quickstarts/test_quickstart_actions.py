"""The quickstart of action detection: files, loaders and evaluation of AVA; no mirroring."""

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
from mvit_det.data.synthetic.moving_figures import ACTIONS
from mvit_det.engine import apply_overrides, load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "quickstart_actions.py")
TINY = [
    f"dataloader.{split}.{key}"
    for split in ("train", "test")
    for key in (
        "dataset.num_train=3",
        "dataset.num_val=2",
        "dataset.num_seconds=5",
        "num_workers=0",
    )
]
TINY += ["dataloader.train.total_batch_size=2"]

pytestmark = pytest.mark.usefixtures("datasets_folder", "quick_pictures")


def config(*overrides: str):
    return apply_overrides(load_config(CONFIG), [*TINY, *overrides])


@pytest.fixture(scope="module")
def output(datasets_folder, quick_pictures, tmp_path_factory) -> Path:
    return two_iterations(CONFIG, TINY, tmp_path_factory.mktemp("run"))


def test_it_trains_and_reports_by_action(output):
    text = (output / "metrics.json").read_text()
    assert "total_loss" in text and "actions/mAP50" in text
    assert all(f"actions/AP-{name}" in text for name in ACTIONS)
    assert (output / "action_detections.csv").stat().st_size
    with Image.open(output / "pictures" / "overview.png") as picture:
        assert min(picture.size) > 100


def test_training_clips_are_those_of_the_files():
    """Without cropping: all frames around the key frame, in order, never mirrored."""
    cfg = config("dataloader.train.mapper.transform.short_side=[128,128]")
    mapper, data = (instantiate(cfg.dataloader.train[key]) for key in ("mapper", "dataset"))
    assert len(data) == 12  # four key frames of each video
    for item in list(data)[:6]:
        sample = mapper(item)
        assert sample["inputs"].shape == (3, 8, 128, 128)
        assert sample["labels"].shape == (len(sample["boxes"]), 8) and sample["labels"].any()
        with open_video(item["file_name"]) as video:
            assert len(video) == 51 and round(video.fps, 6) == 10
            middle = round(10 * item["second"])
            frames = torch.from_numpy(video.frames(range(middle - 4, middle + 4)) / 255)
        inputs = sample["inputs"].movedim(0, -1) * 0.225 + 0.45
        assert (inputs - frames).abs().max() < 1e-3
        expected = torch.from_numpy(item["boxes"]) * 128
        assert (sample["boxes"] - expected).abs().max() <= 1


def test_the_model_scores_each_detected_box():
    cfg = config()
    model = instantiate(cfg.model).eval()
    assert model.stride == 16 and model.num_classes == 8
    batch = next(iter(instantiate(cfg.dataloader.test)))
    with torch.no_grad():
        scores = model(batch)
    assert [each.shape for each in scores] == [(len(boxes), 8) for boxes in batch["boxes"]]
    assert all((0 < each).all() and (each < 1).all() for each in scores)
    # detected boxes, without annotations, of scores from 0.8 on
    assert not any(labels.any() for labels in batch["labels"])
    assert 2 <= min(map(len, scores)) and max(map(len, scores)) <= 5


def test_one_override_repeats_a_single_frame():
    cfg = config(*motion.ONE_FRAME)
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        inputs = next(iter(instantiate(loader)))["inputs"]
        assert torch.equal(inputs, inputs[:, :, :1].expand_as(inputs))
    moving = next(iter(instantiate(config().dataloader.train)))["inputs"]
    assert not torch.equal(moving, moving[:, :, :1].expand_as(moving))


def test_rearranged_frames_around_a_key_frame():
    times = np.arange(51) / 10
    sampling = instantiate(config().dataloader.train.mapper.sampling)
    indices = {
        name: motion.Rearranged(sampling, name).around(times, 2.0) for name in motion.ARRANGEMENTS
    }
    plain = np.arange(16, 24)
    check_arrangements(indices, plain)


def test_the_ablation_measures_as_the_evaluation_does(output, capsys):
    reported = json.loads((output / "metrics.json").read_text().splitlines()[-1])
    final = output / "model_final.pth"
    mean, _ = motion.measure_arrangement(motion.ACTION_CLIPS, config(), final, "unchanged")
    assert mean == pytest.approx(reported["actions/mAP50"])
    motion.main(["--actions", "--weights", str(final), *TINY])
    table = capsys.readouterr().out
    assert all(name in table for name in motion.ARRANGEMENTS)
    assert "25 on average" in table


def test_the_ablation_distinguishes_an_action_from_its_opposite():
    """With a model that knows the labels, and one that predicts the opposite of each."""
    cfg = config("dataloader.test.dataset.split=train")  # whose boxes come with their labels

    class Knowing(torch.nn.Module):
        def __init__(self, columns: list[int]):
            super().__init__()
            self.columns = columns

        def forward(self, batch):
            return [labels[:, self.columns] for labels in batch["labels"]]

    right = motion.measure_detection(cfg, Knowing(list(range(8))))
    wrong = motion.measure_detection(cfg, Knowing(motion.OPPOSITE_ACTION.tolist()))
    # no more, since each figure has an annotated and a detected box
    assert right[0] == wrong[1] > 50 and right[1] == wrong[0] < 25
