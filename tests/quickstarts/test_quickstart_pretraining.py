"""The quickstart's classifier: same backbone as its detector, and weights that start it."""

from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.utils.events import EventStorage

from mvit_det.engine import apply_overrides, load_config

ROOT = Path(__file__).resolve().parents[2]
import train_net  # noqa: E402  the script, as a module

CLASSIFICATION = str(ROOT / "configs" / "quickstart_classification.py")
PRETRAINED = str(ROOT / "configs" / "quickstart_pretrained.py")
WITHOUT = str(ROOT / "configs" / "quickstart.py")
SHORT = ["train.max_iter=1", "train.log_period=1"]


def tiny_data(split_size: int) -> list[str]:
    return [
        f"dataloader.{loader}.{key}"
        for loader in ("train", "test")
        for key in (f"dataset.num_train={split_size}", "dataset.num_val=3", "num_workers=0")
    ]


pytestmark = pytest.mark.usefixtures("datasets_folder", "quick_pictures")


def start(config: str, output: Path, *overrides: str) -> None:
    """train_net.py in this process, without the launcher."""
    arguments = ["--config-file", config, f"train.output_dir={output}", *SHORT, *overrides]
    train_net.main(train_net.argument_parser().parse_args(arguments))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def classifier(datasets_folder, quick_pictures, tmp_path_factory) -> Path:
    """The output folder of one iteration."""
    output = tmp_path_factory.mktemp("classifier")
    start(CLASSIFICATION, output, "dataloader.train.total_batch_size=4", *tiny_data(4))
    return output


def test_the_detector_is_the_quickstarts(tmp_path):
    pretrained, without = (load_config(path) for path in (PRETRAINED, WITHOUT))
    folder = load_config(CLASSIFICATION).train.output_dir
    assert pretrained.train.init_checkpoint == f"{folder}/model_final.pth"
    texts = []
    for cfg in (pretrained, without):
        cfg.train.init_checkpoint = cfg.train.output_dir = ""
        LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
        texts.append((tmp_path / "config.yaml").read_text())
    assert texts[0] == texts[1]


def test_the_classifier_learns():
    """On one batch, with the optimizer of the config."""
    data = [*tiny_data(8), "model.backbone.drop_path_rate=0"]
    cfg = apply_overrides(load_config(CLASSIFICATION), data)
    torch.manual_seed(0)
    model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    batch = next(iter(instantiate(cfg.dataloader.train)))
    assert batch["inputs"].shape == (64, 3, 64, 64) and batch["labels"].dtype == torch.int64
    batch = {key: value[:16] for key, value in batch.items()}
    losses = []
    with EventStorage():
        for _ in range(12):
            loss = model(batch)["loss_cls"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_accuracy_is_reported_by_class(classifier):
    text = (classifier / "metrics.json").read_text()
    names = ("circle", "square", "triangle", "star", "cross", "background")
    assert "classification/top1" in text
    assert all(f"classification/top1-{name}" in text for name in names)


def test_its_weights_start_the_detector(classifier, tmp_path):
    """With a learning rate of 0, so that what was loaded is what is saved."""
    overrides = [f"train.init_checkpoint={classifier / 'model_final.pth'}", "optimizer.lr=0"]
    overrides += ["dataloader.train.total_batch_size=2", *tiny_data(4)]
    overrides += ["dataloader.evaluator=[]", "train.best_metric="]
    start(PRETRAINED, tmp_path, *overrides)
    theirs, ours = weights(classifier), weights(tmp_path)
    loaded = {
        name: tensor
        for name, tensor in theirs.items()
        if name.startswith("backbone.") and "rel_pos" not in name
    }
    assert len(loaded) > 90
    for name, tensor in loaded.items():
        assert torch.equal(ours[name.replace("backbone.", "backbone.bottom_up.")], tensor), name
    table = "blocks.0.attn.rel_pos_h"
    small, large = theirs[f"backbone.{table}"], ours[f"backbone.bottom_up.{table}"]
    # Twice the nominal size; the ends and the middle stay what they are, up to interpolation.
    assert (len(small), len(large)) == (31, 63)
    assert torch.allclose(large[31], small[15], atol=1e-6)
    assert "146 of the model's 190 tensors come from" in (tmp_path / "log.txt").read_text()
