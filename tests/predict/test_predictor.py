"""`Predictor` on detectors, and the names of classes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from detectron2.data import MetadataCatalog
from detectron2.data.detection_utils import read_image
from omegaconf import OmegaConf
from PIL import Image
from predict_scenes import QUICKSTART, TINY, picture

from mvit_det.data import coco_dataset, named_dataset
from mvit_det.engine import load_config
from mvit_det.errors import UserError
from mvit_det.predict import Predictor
from mvit_det.predict.predictor import find_weights
from mvit_det.tasks import Detection

SHAPES = ["circle", "square", "triangle", "star", "cross"]


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor(run.config, run.weights)


def equal(a, b) -> bool:
    """Return whether two `Instances` are equal to the last bit."""
    assert a.image_size == b.image_size
    boxes = torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
    fields = ("scores", "pred_classes", "pred_masks")
    return boxes and all(torch.equal(a.get(name), b.get(name)) for name in fields)


def test_equals_an_evaluation(run, predictor, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    test = load_config(str(run.config)).dataloader.test
    test.dataset.update(num_train=1, num_val=3, image_size=96)
    test.num_workers = 0
    count = 0
    for [given] in instantiate(test):
        with torch.no_grad():
            [output] = predictor.model([given])
        ours = predictor(read_image(given["file_name"], format="BGR"))
        assert len(ours) > 0 and ours.image_size == (96, 96)
        assert equal(ours, output["instances"])
        count += 1
    assert count == 3


def test_results_are_in_pixels_of_the_given_image(predictor):
    found = predictor(picture(90, 160))
    assert found.image_size == (90, 160)
    assert found.pred_masks.shape == (len(found), 90, 160)
    assert found.pred_boxes.tensor[:, 2].max() > 100  # beyond the model's 64 x 114
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_images_are_bgr(run, predictor):
    image = picture(64, 80)
    swapped = Predictor(
        run.config, run.weights, overrides=["dataloader.train.mapper.image_format=BGR"]
    )
    assert equal(swapped(image[:, :, ::-1]), predictor(image))
    assert not equal(swapped(image), predictor(image))


def test_a_list_gives_the_results_of_each_image_alone(run, predictor):
    batches = []
    many = Predictor(run.config, run.weights, batch_size=2)
    many.model.register_forward_pre_hook(lambda model, given: batches.append(len(given[0])))
    images = [picture(64, 80, 0), picture(80, 64, 1), picture(32, 40, 2), picture(64, 80, 3)]
    results = many(images)
    assert batches == [2, 1, 1]  # by the size that the model sees
    assert [found.image_size for found in results] == [image.shape[:2] for image in images]
    for image, found in zip(images, results):
        alone = predictor(image)
        assert torch.allclose(found.scores, alone.scores, atol=1e-5)
        assert torch.allclose(found.pred_boxes.tensor, alone.pred_boxes.tensor, atol=1e-3)
    assert many([]) == []


def test_a_picture_in_any_form(predictor, tmp_path):
    pixels = picture(64, 80)
    path = tmp_path / "picture.png"
    # turned by its EXIF orientation, as in training
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(pixels[..., ::-1])))
    turned.getexif()[274] = 6
    turned.save(path, exif=turned.getexif())
    tensor = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1)))
    forms = [pixels, path, str(path), Image.open(path), tensor]
    expected = predictor(pixels)
    assert len(expected) > 0
    found = [*(predictor(form) for form in forms), *predictor(forms), *predictor(iter(forms))]
    assert len(found) == 15 and all(equal(each, expected) for each in found)


def test_in_bfloat16_results_are_float32_and_a_little_different(run, predictor):
    lower = Predictor(run.config, run.weights, precision="bf16")
    image = picture(64, 80)
    found, expected = lower(image), predictor(image)
    assert {found.scores.dtype, found.pred_masks.masks.dtype} == {torch.float32}
    assert lower.model.state_dict().keys() == predictor.model.state_dict().keys()
    best = [each.scores[:5] for each in (found, expected)]
    torch.testing.assert_close(*best, rtol=0, atol=0.02)
    assert not torch.equal(*best)


def test_score_threshold(run, predictor):
    image = picture(64, 80)
    scores = predictor(image).scores
    middle = scores.median().item()
    found = Predictor(run.config, run.weights, score_threshold=middle)(image)
    assert 0 < len(found) == int((scores >= middle).sum()) < len(scores)


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (200, 5), (333, 77)])
def test_any_size(predictor, shape):
    found = predictor(np.full((*shape, 3), 100, np.uint8))
    assert found.image_size == shape and len(found) > 0
    corners = found.pred_boxes.tensor
    assert (corners >= 0).all() and (corners <= torch.tensor([*shape[::-1] * 2])).all()


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((4, 4), np.uint8), r"not uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"not uint8 of shape \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"not uint8 of shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), "not float32 of shape"),
        ([None], "takes the path of a picture, .* not NoneType"),
        (None, "takes the path of a picture, .* not NoneType"),
        ({"image": 1}, "takes the path of a picture, .* not dict"),
        (7, "takes the path of a picture, .* not int"),
        ("nowhere.png", "Picture nowhere.png cannot be used: the file does not exist"),
        (Path(__file__), "test_predictor.py cannot be used: the file is not a picture"),
        (Image.new("I;16", (9, 9)), "picture of Pillow cannot be used: pixels of type 'I;16'"),
        (torch.zeros(3, 9, 9), r"not torch.float32 of shape \(3, 9, 9\): convert"),
        (torch.zeros(1, 3, 9, 9).byte(), r"not torch.uint8 of shape \(1, 3, 9, 9\): .* a list"),
        (np.zeros((2, 201, 3), np.uint8), "2 x 201 .* no side is more than 100 times the other"),
    ],
)
def test_invalid_images(predictor, image, message):
    with pytest.raises(UserError, match=message):
        predictor(image)


def test_data_are_not_needed(run, predictor, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    python = Predictor(QUICKSTART, run.weights, overrides=TINY)
    assert python.class_names == predictor.class_names == SHAPES
    assert equal(python(picture(64, 64)), predictor(picture(64, 64)))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_the_run(run, tmp_path):
    assert find_weights(run.cfg, run.config) == str(run.weights)
    moved = tmp_path / "config.yaml"
    assert find_weights(run.cfg, moved) == str(run.weights)  # by train.output_dir
    for name in ("model_final.pth", "model_best.pth"):
        shutil.copy(run.weights, tmp_path / name)
        assert find_weights(run.cfg, moved) == str(tmp_path / name)
    empty = OmegaConf.create({"train": {"output_dir": str(tmp_path / "none")}})
    with pytest.raises(UserError, match="No weights were given, and neither .* is in .*none"):
        find_weights(empty, run.folder / "config.py")


def test_bad_weights(run, tmp_path):
    half = run.weights.read_bytes()[: run.weights.stat().st_size // 2]
    (tmp_path / "half.pth").write_bytes(half)
    with pytest.raises(UserError, match="half.pth cannot be read .*damaged or incomplete"):
        Predictor(run.config, tmp_path / "half.pth")
    state = torch.load(run.weights, weights_only=True)
    del state["model"]["roi_heads.mask_head.predictor.weight"]
    torch.save(state, tmp_path / "headless.pth")
    with pytest.raises(UserError, match="missing.*mask_head.predictor.weight"):
        Predictor(run.config, tmp_path / "headless.pth")


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(device="gpu"), "device gpu cannot be used here: choose from cpu"),
        (dict(device="cuda:99"), "device cuda:99 cannot be used here"),
        (dict(device="meta"), "device meta cannot be used here"),
        (dict(score_threshold=50), "score_threshold=50 of Predictor must be from 0 to 1"),
        (dict(batch_size=0), "batch_size=0 of Predictor must be a whole number of at least 1"),
        (dict(class_names=["a", "b"]), "2 class names were given, but the model has 5 classes"),
        (dict(overrides=["dataloader.test.mapper=null"]), "no dataloader.test.mapper"),
    ],
)
def test_bad_options(run, options, message):
    with pytest.raises(UserError, match=message):
        Predictor(run.config, run.weights, **options)


def test_too_little_memory_on_the_gpu(run):
    predictor = Predictor(run.config, run.weights)

    def full(model, given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    predictor.model.register_forward_pre_hook(full)
    with pytest.raises(UserError, match=r"1 pictures of \(64, 80\) .* lower batch_size"):
        predictor(picture(64, 80))


def test_a_config_from_a_gpu_runs_without_one(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    predictor = Predictor(run.config, run.weights, overrides=["train.device=cuda"])
    assert predictor.model.device.type == "cpu"


def categories_of(node) -> list[dict] | None:
    cfg = OmegaConf.create({"dataloader": {"test": {}}}, flags={"allow_objects": True})
    cfg.dataloader.test.dataset = node
    return Detection().data_categories(cfg)


def test_names_of_coco():
    classes = categories_of(L(named_dataset)(names="coco_2017_val", filter_empty=False))
    assert len(classes) == 80
    assert classes[0] == {"id": 1, "name": "person"}
    assert classes[-1] == {"id": 90, "name": "toothbrush"}


@pytest.fixture
def coco_file(tmp_path):
    path = tmp_path / "custom.json"
    classes = [{"id": 7, "name": "fig", "supercategory": "fruit"}, {"id": 3, "name": "date"}]
    path.write_text(json.dumps(dict(images=[{"id": 1}], annotations=[], categories=classes)))
    return path


def test_names_of_custom_data(coco_file):
    wanted = [{"id": 3, "name": "date"}, {"id": 7, "name": "fig"}]
    node = L(coco_dataset)(name="custom_val", json_file=str(coco_file), image_root="nowhere")
    assert categories_of(node) == wanted
    MetadataCatalog.get("predict_registered").set(json_file=str(coco_file))
    assert categories_of({"names": ["predict_registered"]}) == wanted
    MetadataCatalog.remove("predict_registered")
    assert Detection().given_categories(coco_file) == wanted
    # on a machine without the file, those that the training wrote to its config.yaml
    coco_file.unlink()
    cfg = OmegaConf.create({"dataloader": {"test": {"dataset": {"json_file": str(coco_file)}}}})
    assert Detection().known_categories(cfg, None) is None
    cfg.categories = wanted
    assert Detection().known_categories(cfg, None) == wanted


def test_given_names(run, tmp_path):
    assert Detection().given_categories(["a", "b"]) == [
        {"id": 1, "name": "a"},
        {"id": 2, "name": "b"},
    ]
    (tmp_path / "names.txt").write_text("B\u00e4r\n\n big cat \n", encoding="utf-8")
    assert [c["name"] for c in Detection().given_categories(tmp_path / "names.txt")] == [
        "B\u00e4r",
        "big cat",
    ]
    with pytest.raises(UserError, match="class names .*absent.txt does not exist"):
        Detection().given_categories(tmp_path / "absent.txt")
    predictor = Predictor(run.config, run.weights, class_names="v w x y z".split())
    assert predictor.class_names == ["v", "w", "x", "y", "z"]


def test_unknown_names_are_numbered(run, tmp_path, caplog):
    cfg = load_config(str(run.config))
    absent = str(tmp_path / "absent.json")
    cfg.dataloader.test.dataset = L(coco_dataset)(name="x", json_file=absent, image_root="")
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    predictor = Predictor(tmp_path / "config.yaml", run.weights)
    assert predictor.categories[3] == {"id": 4, "name": "class 4"}
    assert "--class-names" in caplog.text


def test_the_names_are_those_of_the_run_that_trained_the_weights(run, tmp_path, caplog):
    weights = tmp_path / "model_best.pth"
    weights.symlink_to(Path(run.weights).absolute())
    names = [dict(id=number, name=name) for number, name in enumerate("uvwxy", start=11)]
    saved = OmegaConf.create({"categories": names})
    OmegaConf.save(saved, tmp_path / "config.yaml")
    with caplog.at_level("INFO", logger="mvit_det"):
        assert Predictor(run.config, weights).categories == names
    assert f"Classes: those of the config.yaml next to {weights}" in caplog.text
    assert Predictor(run.config, weights, class_names=SHAPES).class_names == SHAPES
    with pytest.raises(UserError, match="in another order"):
        Predictor(run.config, weights, class_names=list("vuwxy"))
    del saved.categories[0]  # it is of another model
    OmegaConf.save(saved, tmp_path / "config.yaml")
    assert Predictor(run.config, weights).class_names == SHAPES
