"""A small classification config end to end: train, evaluate, resume, EMA, 21K heads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from train_runs import ROOT, logged, start, stopped_at

from mvit_det.engine import apply_overrides, load_config
from mvit_det.engine.train import evaluate
from mvit_det.errors import UserError

CONFIG = str(ROOT / "configs" / "imagenet" / "mvitv2_t_in1k.py")
CLASSES = ["blue", "green", "red"]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Noisy pictures of one colour each: {train,val}/CLASS/NUMBER.png."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (40, 48, 3), dtype=np.uint8)
                pixels[..., 2 - CLASSES.index(name)] += 120
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def arguments(images: Path, output: Path, *more: str) -> list[str]:
    return [
        "--config-file",
        CONFIG,
        "model.backbone.input_size=[32,32]",
        "model.backbone.embed_dim=8",
        "model.backbone.last_block_indexes=[0,1,2,3]",
        "model.num_classes=3",
        *(f"dataloader.{loader}.dataset.classes=null" for loader in ("train", "test")),
        f"dataloader.train.dataset.root={images / 'train'}",
        f"dataloader.test.dataset.root={images / 'val'}",
        *(f"dataloader.{loader}.num_workers=0" for loader in ("train", "test")),
        "dataloader.train.total_batch_size=8",
        "train.gradient_accumulation=2",
        "train.ema.enabled=true",
        "train.ema.decay=0.5",
        "train.device=cpu",
        "train.seed=1",
        "train.max_iter=5",
        "train.log_period=1",
        "train.eval_period=2",
        "train.checkpointer.period=2",
        f"train.output_dir={output}",
        *more,
    ]


def weights(output: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(output / f"{name}.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("run")
    start(*arguments(images, output))
    return output


def test_it_trains_and_writes_its_files(trained):
    names = {path.name for path in trained.iterdir()}
    for name in ("config.yaml", "model_final", "averaged_final", "model_best"):
        assert name in names or f"{name}.pth" in names
    assert "classification_predictions.npz" in names
    rows = logged(trained)
    assert set(rows) == {0, 1, 2, 3, 4, 5}
    for iteration in range(5):
        assert all(rows[iteration][key] > 0 for key in ("total_loss", "grad_norm", "lr"))
    assert rows[0]["lr"] == pytest.approx(2e-3 * 4e-5) and rows[4]["lr"] < 2e-3
    assert 0 <= rows[5]["classification/top1"] <= rows[5]["classification/top5"] == 100


def test_a_resumed_run_equals_a_whole_one(trained, images, tmp_path):
    stopped_at(3, *arguments(images, tmp_path))
    config, *overrides = arguments(images, tmp_path)[1:]
    start("--config-file", config, "--resume", *overrides)
    assert logged(tmp_path) == logged(trained)
    for name in ("model_final", "averaged_final"):
        a, b = weights(tmp_path, name), weights(trained, name)
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def evaluated(images: Path, output: Path, *more: str) -> dict[str, float]:
    cfg = apply_overrides(load_config(CONFIG), arguments(images, output, *more)[2:])
    return evaluate(cfg)["classification"]


def test_evaluation_repeats_with_the_averaged_weights(trained, images, tmp_path):
    file = trained / "averaged_final.pth"
    found = evaluated(images, tmp_path, f"train.init_checkpoint={file}")
    last = logged(trained)[5]
    assert {key: found[key] for key in ("top1", "top5")} == {
        key: last[f"classification/{key}"] for key in ("top1", "top5")
    }


def test_the_first_outputs_of_a_larger_head_are_evaluated_alone(trained, images, tmp_path):
    """As a model of ImageNet-21K on ImageNet-1K: the other outputs are ignored."""
    state = weights(trained, "averaged_final")
    for key in ("head.projection.weight", "head.projection.bias"):
        extra = torch.full_like(state[key], 5.0)
        state[key] = torch.cat([state[key], extra])
    torch.save({"model": state}, tmp_path / "larger.pth")
    found = evaluated(
        images,
        tmp_path,
        "model.num_classes=6",
        "dataloader.test.dataset.num_classes=3",
        "dataloader.evaluator.0.classes=3",
        f"train.init_checkpoint={tmp_path / 'larger.pth'}",
    )
    small = evaluated(images, tmp_path, f"train.init_checkpoint={trained / 'averaged_final.pth'}")
    assert found == small


def test_a_fault_of_the_test_data_is_reported_before_training(images, tmp_path):
    wrong = "dataloader.test.mapper.transform.protocol=centre"
    with pytest.raises(UserError, match="protocol='centre'"):
        start(*arguments(images, tmp_path, wrong))
    assert not list(tmp_path.glob("*.pth"))


def test_an_evaluation_of_nothing_is_a_fault(images, tmp_path):
    folder = tmp_path / "val" / "red"
    folder.mkdir(parents=True)
    (folder / "a.png").write_text("no picture")
    start(*arguments(images, tmp_path / "run", "train.max_iter=1", "train.eval_period=0"))
    with pytest.raises(UserError, match="The evaluation has no metrics"):
        start(
            "--eval-only",
            *arguments(images, tmp_path / "evaluation"),
            f"dataloader.test.dataset.root={tmp_path / 'val'}",
            "dataloader.test.dataset.classes=[blue,green,red]",
            f"train.init_checkpoint={tmp_path / 'run' / 'model_final.pth'}",
        )
