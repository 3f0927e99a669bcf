"""An image classifier in `Predictor` and on the command line."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from detectron2.data.detection_utils import read_image
from PIL import Image
from predict_scenes import finished_run, picture
from pycocotools.coco import COCO

from mvit_det.engine import apply_overrides, load_config
from mvit_det.errors import UserError
from mvit_det.predict import Predictor
from mvit_det.predict.__main__ import argument_parser, main
from mvit_det.tasks.classification import ClassInference

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "imagenet" / "mvitv2_t_in1k.py")
NAMES = ["beech", "elm", "fir", "larch", "oak", "pine", "yew"]
TINY = [
    "model.backbone.embed_dim=8",
    "model.backbone.input_size=[64,64]",
    "model.backbone.last_block_indexes=[0,1,2,3]",
    f"model.num_classes={len(NAMES)}",
    "dataloader.test.num_workers=0",
    "train.device=cpu",
]


@pytest.fixture(scope="session")
def trees(tmp_path_factory) -> SimpleNamespace:
    """A `finished_run` of a classifier, with its test images."""
    folder = tmp_path_factory.mktemp("trees")
    for number, name in enumerate(NAMES):
        (folder / "val" / name).mkdir(parents=True)
        pixels = picture(70 + 9 * number, 90, number)[:, :, ::-1]
        Image.fromarray(pixels).save(folder / "val" / name / f"{number}.jpg")
    Image.fromarray(pixels[:, :, 0]).save(folder / "val" / "elm" / "gray.png")
    (folder / "classes.txt").write_text("\n".join(NAMES))
    cfg = apply_overrides(load_config(CONFIG), [*TINY, f"train.output_dir={folder}"])
    cfg.dataloader.test.dataset.update(root=str(folder / "val"), classes=f"{folder}/classes.txt")
    return finished_run(cfg, folder)


@pytest.fixture(scope="module")
def predictor(trees) -> Predictor:
    return Predictor(trees.config)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_equals_an_evaluation_bit_for_bit(trees, batch_size):
    test = trees.cfg.dataloader.test.copy()
    test.batch_size = batch_size
    predictor = Predictor(trees.config, batch_size=batch_size)
    evaluated = set()
    for batch in instantiate(test):
        with torch.no_grad():
            expected = predictor.model(batch)
        scores = predictor([read_image(name, format="BGR") for name in batch["file_name"]])
        assert torch.equal(torch.stack(scores), expected)
        assert scores[0].sum().item() == pytest.approx(1, abs=1e-5)
        evaluated |= set(batch["file_name"])
    assert len(evaluated) == 8 and len({name.rsplit("/", 2)[1] for name in evaluated}) == 7


def test_the_test_protocol_of_the_config_is_used(trees, predictor):
    image = picture(80, 160)
    overrides = ["dataloader.test.mapper.transform.protocol=resize"]
    squeezed = Predictor(trees.config, overrides=overrides)
    assert not torch.equal(squeezed(image), predictor(image))


def test_names_and_weights_without_data(trees, predictor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert predictor.class_names == NAMES
    overrides = [*TINY, f"dataloader.test.dataset.classes={trees.folder}/classes.txt"]
    python = Predictor(CONFIG, trees.weights, overrides=overrides)  # its data do not exist
    image = picture(80, 100)
    assert torch.equal(python(image), predictor(image)) and python.class_names == NAMES
    given = Predictor(trees.config, class_names="a b c d e f g".split())
    assert given.class_names == list("abcdefg")


def test_scores_that_are_not_finite(trees, tmp_path):
    state = torch.load(trees.weights, weights_only=True)
    state["model"]["norm.weight"].fill_(3e38)  # so that features overflow
    torch.save(state, tmp_path / "huge.pth")
    with pytest.raises(UserError, match="scores are not all finite numbers"):
        Predictor(trees.config, tmp_path / "huge.pth")(picture(64, 64))


def predict(trees, output, *words) -> int:
    line = ["--config-file", str(trees.config), *map(str, words), "--output", str(output)]
    return main(argument_parser().parse_intermixed_args(line))


@pytest.mark.usefixtures("small_pictures")
def test_command_line(trees, predictor, inputs, tmp_path, caplog):
    caplog.set_level("INFO", logger="mvit_det")
    output = tmp_path / "out"
    assert predict(trees, output, inputs, "--batch-size", 3) == 1
    assert f"{inputs / 'broken.jpg'}: " in caplog.text
    assert (
        "Wrote 3 annotated pictures, 1 annotated videos (5 frames), predictions.json and "
        f"images.json to {output}: up to 5 classes for each of 8 images. Faulty inputs: 1"
    ) in caplog.text
    assert {path.name for path in output.iterdir()} == {
        *("a.jpg", "b.png", "a-2.jpg", "clip.mp4"),
        *("predictions.json", "images.json"),
    }
    images = json.loads((output / "images.json").read_text())
    predictions = json.loads((output / "predictions.json").read_text())
    assert [p["image_id"] for p in predictions] == [i["id"] for i in images["images"]]
    assert [c["name"] for c in images["categories"]] == NAMES
    COCO(str(output / "images.json"))
    first = next(i for i in images["images"] if i["file_name"].endswith("b.png"))
    [found] = [p["classes"] for p in predictions if p["image_id"] == first["id"]]
    scores = predictor(cv2.imread(str(inputs / "b.png")))
    best, order = scores.sort(descending=True)
    assert [c["name"] for c in found] == [NAMES[k] for k in order[:5]]
    assert [c["category_id"] for c in found] == [k + 1 for k in order[:5].tolist()]
    assert [c["score"] for c in found] == pytest.approx(best[:5].tolist(), rel=1e-4)


CATEGORIES = [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)]


@pytest.mark.parametrize("shape", [(1, 1), (40, 30), (100, 2000), (700, 900)])
def test_the_best_classes_are_drawn_on_the_picture(shape):
    task = ClassInference(transform=lambda image: torch.zeros(3, 8, 8))
    image = np.full((*shape, 3), (255, 0, 0), np.uint8)  # blue
    drawn = task.draw(image, torch.linspace(0, 0.3, 7), CATEGORIES).astype(int)
    white, dark = drawn.min(axis=2) > 200, drawn[:, :, 0] < 150
    assert white.sum() > 100 and dark.mean() > 0.005
    if min(shape) > 30:
        assert drawn.shape[:2] == shape and (drawn[-1, -1] == (255, 0, 0)).all()
    # all in the upper left corner; fewer classes cover less
    rows = np.flatnonzero(white.any(axis=1))
    assert rows[0] < 60 and rows[-1] < 0.6 * max(len(drawn), 400)
    fewer = task.draw(image, torch.linspace(0, 0.3, 2), CATEGORIES[:2]).astype(int)
    assert (fewer[:, :, 0] < 150).sum() < dark.sum()
