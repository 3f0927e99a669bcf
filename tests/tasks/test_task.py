"""The task of a config, and a fifth task that a user writes."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from omegaconf import OmegaConf
from shipped_configs import shipped_config
from torch import nn

from mvit_det.benchmark.__main__ import argument_parser, main
from mvit_det.data import image_classes
from mvit_det.data.custom.files import CustomFiles
from mvit_det.engine import load_config
from mvit_det.errors import UserError
from mvit_det.predict import Predictor
from mvit_det.tasks import (
    ActionDetection,
    Classification,
    Detection,
    Inference,
    Task,
    VideoClassification,
    task_of,
)

TASKS = Detection, Classification, VideoClassification, ActionDetection


@pytest.mark.parametrize("task", TASKS)
def test_the_config_for_custom_data_is_of_the_task(task):
    config, flags = task.custom_data_command
    assert type(task_of(shipped_config(config))) is task
    assert flags.startswith("--train-")


class MeanColour(nn.Module):
    """Compute the mean colour of images."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def logits(self, images):
        return images.mean(dim=(2, 3)) * self.scale

    def forward(self, images):
        return self.logits(images) if not self.training else {"loss": self.logits(images).sum()}


class ColourInference(Inference):
    def prepare(self, image):
        return torch.from_numpy(image.copy()).permute(2, 0, 1) / 255, None

    def batch(self, samples):
        return torch.stack([pixels for pixels, _ in samples])

    def results(self, outputs):
        return list(outputs)

    def draw(self, image, result, categories):
        return image

    def rows(self, result, image_id, categories):
        return [{"image_id": image_id, "colour": result.tolist()}]

    def summary(self, rows):
        return f"the colour of {rows} images"


class Colours(Task):
    model, kind, inputs = "a colour meter", "meter", "pictures"
    files = ("images",)

    def replace_data(self, cfg, files, processes):
        cfg.images = files.val_images

    def data_categories(self, cfg):
        return [{"id": k, "name": name} for k, name in enumerate(("blue", "green", "red"), 1)]

    def inference(self, cfg, score_threshold=0.0):
        return ColourInference()

    def random_inputs(self, model, shape, device):
        images = torch.rand(*shape, device=device)
        return images, images


@pytest.fixture
def fifth_task(tmp_path, monkeypatch):
    """A saved config of a task in a user's module, with weights."""
    module = ModuleType("my_colours")
    for part in (MeanColour, Colours):
        monkeypatch.setattr(part, "__module__", "my_colours")
        setattr(module, part.__name__, part)
    monkeypatch.setitem(sys.modules, "my_colours", module)
    loaders = dict(evaluator=[dict(dataset_name="x")])
    cfg = OmegaConf.create(dict(dataloader=loaders, train=dict(output_dir=str(tmp_path))))
    cfg.model, cfg.task = L(MeanColour)(), L(Colours)()
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    torch.save({"model": MeanColour().state_dict()}, tmp_path / "model_final.pth")
    return tmp_path / "config.yaml"


def test_a_custom_task_needs_no_registry(fifth_task, capsys):
    predictor = Predictor(fifth_task, allow_targets=["my_colours"])
    assert predictor.class_names == ["blue", "green", "red"]
    image = torch.zeros(4, 4, 3, dtype=torch.uint8)
    image[..., 0] = 255
    assert predictor(image.numpy()).tolist() == [1, 0, 0]
    with pytest.raises(UserError, match="Person boxes need an action detector"):
        predictor.actions("a.mp4", {1.0: [[0, 0, 1, 1]]})
    words = f"--config-file {fifth_task} --size 8 8 --repeats 0 --device cpu".split()
    words += ["--allow-target", "my_colours"]
    assert main(argument_parser().parse_args(words))["parameters"] == 3
    cfg = load_config(str(fifth_task), ["my_colours"])
    task_of(cfg).use_custom_data(cfg, CustomFiles(val_images="below"))
    assert cfg.images == str(Path("below").absolute())
    assert cfg.dataloader.evaluator[0].dataset_name == "custom_val"
    with pytest.raises(
        UserError, match="--val-json cannot be used here: this config is of a colour"
    ):
        task_of(cfg).use_custom_data(cfg, CustomFiles(val_json="x", val_images="x"))


def test_unknown_task():
    cfg = OmegaConf.create(dict(model=dict(a=1), dataloader=dict(evaluator=[])))
    task = task_of(cfg)
    assert type(task) is Task and task.data_categories(cfg) is None
    with pytest.raises(UserError, match="no way to predict with its model: name the task"):
        task.inference(cfg)
    with pytest.raises(UserError, match="--val-json cannot .* which takes no custom data"):
        task.use_custom_data(cfg, CustomFiles(val_json="x"))
    cfg.task = "detection"
    with pytest.raises(UserError, match="key `task` of this config is 'detection'"):
        task_of(cfg)


def image_data(**classes: list[str]):
    """Training and test data with the given classes, which need not be on disk."""
    splits = {
        split: dict(dataset=L(image_classes)(root="no", name=split, classes=names))
        for split, names in classes.items()
    }
    return OmegaConf.create(dict(dataloader=splits), flags={"allow_objects": True})


def test_test_data_with_a_class_that_is_not_trained():
    Task().check_test_data(image_data(train=["cat", "dog"], test=["dog"]), None)
    with pytest.raises(UserError, match=r"test.dataset has the classes fox, which .* \(cat, dog\)"):
        Task().check_test_data(image_data(train=["cat", "dog"], test=["cat", "fox"]), None)
