"""AVA configs: each equals its recipe and reloads; one per structure trains a step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from action_recipes import KEY_FRAMES, RECIPES, Recipe
from config_steps import (
    check_backbone_of_clips,
    check_is_sgd,
    check_schedule,
    check_task,
    meta_model,
    readme_row,
    reloaded,
    trained_a_step,
)
from detectron2.config import instantiate
from detectron2.evaluation import inference_on_dataset
from shipped_configs import CONFIGS, shipped_config
from video_files import numbered_frames, write_video

from mvit_det.benchmark import counts
from mvit_det.checkpoint.published import PUBLISHED
from mvit_det.engine import apply_overrides
from mvit_det.tasks import ActionDetection

FILES = sorted((CONFIGS / "ava").glob("*.py"))


def test_every_config_has_a_recipe_here():
    assert {path.stem for path in FILES} == set(RECIPES) and len(FILES) == 5


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_config(path, tmp_path):
    """It reloads as it was saved, and equals its recipe and its row in the README."""
    recipe = RECIPES[path.stem]
    check_task(reloaded(path, tmp_path), ActionDetection)
    cfg = shipped_config(path)
    model = meta_model(cfg)
    check_model(cfg, model, recipe)
    check_training(path.stem, cfg, recipe)
    check_data(cfg.dataloader)
    check_readme(path, cfg, recipe)
    check_sizes(shipped_config(path), recipe)
    check_optimizer(cfg, model)


def check_model(cfg, model, recipe: Recipe) -> None:
    vit = cfg.model.backbone
    check_backbone_of_clips(vit, recipe.variant, recipe.size)
    assert vit.drop_path_rate == 0.4 and vit.get("expand_in", "attention") == "attention"
    assert model.num_classes == model.head.projection.out_features == 80
    assert (model.roi_size, model.stride, model.head.dropout.p) == (7, 32, 0.5)
    assert counts.count_parameters(model) / 1e6 == pytest.approx(recipe.parameters, abs=6e-4)
    assert recipe.parameters == pytest.approx(recipe.paper[0], abs=0.05)
    paper = {"table": "A.2", "center": recipe.center, "full": recipe.full}
    assert cfg.published == {**paper, "parameters": recipe.paper[0], "flops": recipe.paper[1]}


def check_optimizer(cfg, model) -> None:
    assert cfg.optimizer.lr == 0.6 and cfg.optimizer.weight_decay == 1e-8
    assert cfg.dataloader.train.total_batch_size == 64 * 8
    assert cfg.optimizer.params.layer_decay == 1.0 and cfg.optimizer.params.decay_positions
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    check_is_sgd(optimizer)
    assert {group["lr"] for group in optimizer.param_groups} == {0.6}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-8, 0.0}
    assert cfg.train.max_iter == 30 * (KEY_FRAMES // 512)
    assert cfg.train.eval_period == cfg.train.max_iter // 15
    check_schedule(cfg, epochs=30, warmup=5, start=0.000125 / 0.1, end=0.0)


def check_training(name: str, cfg, recipe: Recipe) -> None:
    train = cfg.train
    assert train.clip_gradients is None and train.gradient_accumulation == 1
    assert not train.ema.enabled and not train.amp.enabled
    assert train.best_metric == "actions/mAP50" and train.output_dir == f"output/{name}"
    assert train.init_checkpoint == recipe.init
    if recipe.init in PUBLISHED:
        start = CONFIGS / "kinetics" / f"{recipe.init}.py"
    else:  # that config makes it
        start = CONFIGS / "kinetics" / f"{Path(recipe.init).parts[1]}.py"
        assert shipped_config(start).train.output_dir == str(Path(recipe.init).parent)
    kinetics = shipped_config(start)
    # The clips, the colours and the network of the model that it starts from.
    assert kinetics.model.backbone.input_size == cfg.model.backbone.input_size
    sampling = cfg.dataloader.train.mapper.sampling
    assert (sampling.num_frames, sampling.sampling_rate) == (recipe.size[0], recipe.rate)
    assert kinetics.dataloader.train.mapper.sampling.sampling_rate == sampling.sampling_rate
    assert sampling.target_fps == 30 and cfg.dataloader.test.mapper.sampling == sampling
    for part, is_train in ((cfg.dataloader.train, True), (cfg.dataloader.test, False)):
        assert part.mapper.is_train is is_train
        colours = (tuple(part.mapper.transform.mean), tuple(part.mapper.transform.std))
        assert colours == recipe.colours
        of_start = kinetics.dataloader.train.mapper.transform
        assert colours == (tuple(of_start.mean), tuple(of_start.std))
    transform = cfg.dataloader.train.mapper.transform
    assert (tuple(transform.short_side), transform.hflip) == (recipe.jitter, 0.5)
    for split in ("train", "test"):  # frames keep their size
        assert instantiate(cfg.dataloader[split].mapper).short_side is None
    assert cfg.dataloader.test.mapper.transform.crop == "center"
    assert cfg.dataloader.test.batch_size == recipe.batch


def check_data(data) -> None:
    """The files are the published ones."""
    train, val = data.train.dataset, data.test.dataset
    boxes = "ava/annotations/person_box_67091280_iou90/ava_detection_"
    for node, split in ((train, "train"), (val, "val")):
        assert (node.videos, node.start, node.min_score) == ("ava/videos", 900.0, 0.8)
        assert tuple(node.seconds) == (902, 1798) and node.num_classes == 80
        assert (
            node.name == f"ava_{split}" and node.actions == f"ava/annotations/ava_{split}_v2.2.csv"
        )
        name = "ava_action_list_v2.2_for_activitynet_2019.pbtxt"
        assert node.label_map == f"ava/annotations/{name}"
    assert train.proposals == [f"{boxes}train_boxes_and_labels_include_negative_v2.2.csv"]
    assert val.proposals == [f"{boxes}val_boxes_and_labels.csv"]
    assert train.get("annotated_boxes", True) and not val.annotated_boxes
    assert train.get("excluded") is None
    assert val.excluded == "ava/annotations/ava_val_excluded_timestamps_v2.2.csv"
    assert data.evaluator[0].dataset_name == "ava_val"


def test_overrides_of_the_readmes():
    """One key is that of training and test alike, where both must agree."""
    cfg = shipped_config(FILES[-1])
    apply_overrides(
        cfg,
        [
            "dataloader.train.dataset.videos=ava/frames",
            "dataloader.train.dataset.start=0",
            "dataloader.train.dataset.min_score=0.9",
            "dataloader.test.dataset.proposals=[]",
            "dataloader.test.dataset.annotated_boxes=true",
            "dataloader.evaluator.0.mode=pyslowfast",
        ],
    )
    for node in (cfg.dataloader.train.dataset, cfg.dataloader.test.dataset):
        assert (node.videos, node.start, node.min_score) == ("ava/frames", 0, 0.9)
    assert cfg.dataloader.test.dataset.proposals == []
    assert cfg.dataloader.evaluator[0].mode == "pyslowfast"


def check_sizes(cfg, recipe: Recipe) -> None:
    """Clips and boxes have the size of the model."""
    side = recipe.size[1]
    frames, boxes = np.zeros((2, 90, 160, 3), np.uint8), np.array([[0, 0, 1, 1]], np.float32)
    train, test = cfg.dataloader.train.mapper.transform, cfg.dataloader.test.mapper.transform
    clip, moved = instantiate(train)(frames, boxes)
    assert clip.shape == (3, 2, side, side) and moved.shape == (1, 4)
    assert instantiate(test)(frames, boxes)[0].shape == (3, 2, side, side)
    test.crop = "full"
    clip, moved = instantiate(test)(frames, boxes)
    assert clip.shape[:3] == (3, 2, side) and clip.shape[3] == side * 160 // 90
    # one key sizes model and data
    apply_overrides(cfg, ["model.backbone.input_size=[4,32,32]"])
    train.short_side = (40, 48)
    assert instantiate(train)(frames, boxes)[0].shape == (3, 2, 32, 32)
    assert cfg.dataloader.train.mapper.sampling.num_frames == 4


def shrink(cfg) -> None:
    """Keep the structure, with few blocks, channels, frames, and pixels."""
    vit = cfg.model.backbone
    vit.update(embed_dim=8 * vit.num_heads, last_block_indexes=(0, 1, 2, 3), input_size=(4, 32, 32))
    cfg.dataloader.train.mapper.transform.short_side = (40, 48)


def sample(boxes: int) -> dict:
    """A clip with boxes, one of them without an action."""
    labels = torch.zeros(boxes, 80)
    labels[1:, :2] = 1
    places = torch.tensor([[2.0, 3.0, 20.0, 30.0]]).repeat(boxes, 1)
    clip = torch.randn(3, 4, 32, 32)
    return {"inputs": clip, "boxes": places, "labels": labels, "file_name": "a.mp4"}


@pytest.mark.parametrize("path", [FILES[0], FILES[-1]], ids=lambda p: p.stem)
def test_a_training_step_and_a_test(path):
    """L checkpoints its activations."""
    cfg = shipped_config(path)
    shrink(cfg)
    samples = [sample(boxes) for boxes in (2, 0, 3, 1)]
    model = trained_a_step(cfg, samples)
    full = {**samples[0], "inputs": torch.randn(3, 4, 32, 64)}  # a full frame
    batch = instantiate(cfg.dataloader.test.collate_fn)([*samples, full])
    with torch.no_grad():
        results = model(batch)
    assert [scores.shape for scores in results] == [(n, 80) for n in (2, 0, 3, 1, 2)]
    assert all(((scores > 0) & (scores < 1)).all() for scores in results)


def write_ava(folder: Path) -> None:
    """A movie to train on and one to test on, seconds 900 to 906, with published file names."""
    (folder / "videos").mkdir(parents=True)
    boxes = folder / "annotations" / "person_box_67091280_iou90"
    boxes.mkdir(parents=True)
    for number, split in enumerate(("train", "val")):
        name = f"{split}movie"
        frames = numbered_frames(60, 40, 60, first=100 * number)
        write_video(folder / "videos" / f"{name}.mp4", frames, fps=10)
        rows = [
            f"{name},{second:04},0.1,0.1,0.5,0.9,{action},1"
            for second in (902, 903)
            for action in (12, 80)
        ]
        # its other rows must not be read: neither these seconds nor this action are scored
        rows += [f"{name},0901,0.1,0.1,0.5,0.9,12,1", f"{name},0902,0.1,0.1,0.5,0.9,2,1"]
        (boxes.parent / f"ava_{split}_v2.2.csv").write_text("\n".join(rows) + "\n")
        # the annotated one, one that covers no person, and one that is too uncertain
        found = [f"{name},0902,0.1,0.12,0.5,0.9,{12 if split == 'train' else ''},0.95"]
        found += [f"{name},0902,0.6,0.1,0.9,0.9,{-1 if split == 'train' else ''},0.9"]
        found += [f"{name},0903,0.6,0.1,0.9,0.9,,0.7"]
        ending = "_include_negative_v2.2.csv" if split == "train" else ".csv"
        path = boxes / f"ava_detection_{split}_boxes_and_labels{ending}"
        path.write_text("\n".join(found) + "\n")
    (boxes.parent / "ava_val_excluded_timestamps_v2.2.csv").write_text("valmovie,0904\n")
    items = [f'item {{\n  name: "action {k}"\n  id: {k}\n}}\n' for k in (12, 80)]
    name = "ava_action_list_v2.2_for_activitynet_2019.pbtxt"
    (boxes.parent / name).write_text("".join(items))


@pytest.mark.parametrize("crop", ["center", "full"])
def test_movies_go_through_a_config(crop, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    write_ava(tmp_path / "ava")
    cfg = shipped_config(FILES[-1])
    shrink(cfg)
    cfg.train.output_dir = str(tmp_path / "output")
    cfg.dataloader.train.update(total_batch_size=2, num_workers=0)
    cfg.dataloader.test.num_workers = 0
    apply_overrides(cfg, [f"dataloader.test.mapper.transform.crop={crop}"])
    batch = next(iter(instantiate(cfg.dataloader.train)))
    assert batch["inputs"].shape == (2, 3, 4, 32, 32)
    # second 902: the annotated box and two found ones; 903: the annotated one
    assert sorted(map(len, batch["boxes"])) == [1, 3]
    assert sorted(int(labels.sum()) for labels in batch["labels"]) == [2, 4]

    tests = instantiate(cfg.dataloader.test)
    (batch,) = tests
    assert [len(boxes) for boxes in batch["boxes"]] == [2]  # found in 902 alone
    assert batch["inputs"][0].shape == (3, 4, 32, 32 if crop == "center" else 48)
    model = instantiate(cfg.model).eval()
    results = inference_on_dataset(model, tests, instantiate(cfg.dataloader.evaluator))
    # one of two annotated boxes can be found: at best half of the precision
    assert 0 <= results["actions"]["mAP50"] <= 50
    assert {"AP-action 12", "AP-action 80"} <= set(results["actions"])
    assert "unreadable" not in results
    # two boxes with a row for each action that is scored
    rows = (tmp_path / "output" / "action_detections.csv").read_text().splitlines()
    assert len([row for row in rows if row.count(",") > 1]) == 4


def check_readme(path: Path, cfg, recipe: Recipe) -> None:
    cells = readme_row(path)
    assert cells[1] == " x ".join(map(str, recipe.size))
    paper = ["A.2", recipe.center, recipe.full, *recipe.paper]
    assert cells[2:7] == [str(value) for value in paper]
    assert float(cells[7]) == pytest.approx(recipe.parameters, abs=6e-4)
    assert float(cells[8]) == pytest.approx(recipe.flops, abs=6e-4)
    assert (PUBLISHED[recipe.init].url if recipe.init in PUBLISHED else recipe.init) in cells[9]
    assert cfg.published.get("weights") is None
