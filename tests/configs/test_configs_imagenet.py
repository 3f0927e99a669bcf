"""Classification configs: each equals its recipe and reloads; one per structure trains a step."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from config_steps import (
    check_schedule,
    check_task,
    meta_model,
    readme_row,
    reloaded,
    trained_a_step,
)
from detectron2.config import instantiate
from PIL import Image
from shipped_configs import CONFIGS, shipped_config

from mvit_det.backbone import VARIANTS
from mvit_det.checkpoint.published import PUBLISHED
from mvit_det.engine import apply_overrides
from mvit_det.tasks import Classification

FILES = sorted((CONFIGS / "imagenet").glob("*.py"))
IN1K, IN21K = 1281167, 14_200_000  # training images; the latter as the paper has it
MILLION = 1e6


class Recipe(NamedTuple):
    """What distinguishes one config from another."""

    variant: str
    parameters: float  # millions, as counted in the released code's model where it has this one
    drop_path: float
    size: int = 224
    images: int = IN1K
    epochs: int = 300
    warmup: float = 70  # epochs
    batch: int = 2048
    lr_per_256: float = 2.5e-4
    weight_decay: float = 0.05
    mixup: bool = True
    start: str = ""
    class_token: bool = False
    expand_in: str = "attention"
    classes: int = 1000


SMALL = dict(size=384, epochs=30, warmup=5, batch=512, lr_per_256=4e-5)
LARGE = dict(epochs=30, warmup=5, batch=512, lr_per_256=4 * 7e-5, mixup=False)
JOINT = dict(images=IN21K, epochs=90, warmup=21, classes=19168, class_token=True)
FROM_JOINT = dict(LARGE, class_token=True)
L21, H21 = "mvitv2_l_in21k", "mvitv2_h_in21k"

RECIPES = {
    "mvitv2_t_in1k": Recipe("T", 24.173, 0.1),
    "mvitv2_s_in1k": Recipe("S", 34.870, 0.1),
    "mvitv2_b_in1k": Recipe("B", 51.473, 0.3),
    "mvitv2_l_in1k": Recipe("L", 217.993, 0.5, weight_decay=0.1, expand_in="mlp"),
    "mvitv2_h_in1k": Recipe("H", 666.880, 0.8, weight_decay=0.1),
    "mvitv2_t_in1k_384": Recipe("T", 24.233, 0.1, start="mvitv2_t_in1k", **SMALL),
    "mvitv2_s_in1k_384": Recipe("S", 34.953, 0.1, start="mvitv2_s_in1k", **SMALL),
    "mvitv2_b_in1k_384": Recipe("B", 51.599, 0.3, start="mvitv2_b_in1k", **SMALL),
    "mvitv2_l_in1k_384": Recipe(
        "L",
        218.164,
        0.5,
        size=384,
        weight_decay=0.1,
        start="mvitv2_l_in1k",
        expand_in="mlp",
        **LARGE,
    ),
    "mvitv2_h_in1k_384": Recipe(
        "H",
        667.129,
        0.8,
        size=384,
        weight_decay=0.1,
        start="output/mvitv2_h_in1k/model_final.pth",
        **LARGE,
    ),
    "mvitv2_s_in21k": Recipe("S", 48.842, 0.1, lr_per_256=6.75e-5, weight_decay=0.01, **JOINT),
    "mvitv2_b_in21k": Recipe("B", 65.444, 0.3, lr_per_256=6.75e-5, weight_decay=0.01, **JOINT),
    "mvitv2_l_in21k": Recipe("L", 234.583, 0.5, lr_per_256=1e-4, weight_decay=0.1, **JOINT),
    "mvitv2_h_in21k": Recipe(
        "H",
        694.804,
        0.8,
        lr_per_256=1e-4,
        weight_decay=0.1,
        **{**JOINT, "epochs": 60, "warmup": 14},
    ),
    "mvitv2_l_in21k_to_in1k": Recipe("L", 213.636, 0.5, start=L21, **FROM_JOINT),
    "mvitv2_l_in21k_to_in1k_384": Recipe("L", 213.807, 0.5, size=384, start=L21, **FROM_JOINT),
    "mvitv2_h_in21k_to_in1k": Recipe("H", 666.880, 0.8, start=H21, **FROM_JOINT),
    "mvitv2_h_in21k_to_in1k_384": Recipe("H", 667.130, 0.8, size=384, start=H21, **FROM_JOINT),
    "mvitv2_h_in21k_to_in1k_512": Recipe(
        "H",
        667.329,
        0.8,
        size=512,
        epochs=3,
        warmup=0.5,
        batch=512,
        lr_per_256=2 * 1.6e-5,
        weight_decay=1e-8,
        start="output/mvitv2_h_in21k_to_in1k_384/model_final.pth",
        class_token=True,
    ),
}
# table, top-1 of the central crop and of the squeezed image, millions of parameters, GFLOPs
PAPER = {
    "mvitv2_t_in1k": ("2", 82.3, None, 24, 4.7),
    "mvitv2_s_in1k": ("2", 83.6, None, 35, 7.0),
    "mvitv2_b_in1k": ("2", 84.4, None, 52, 10.2),
    "mvitv2_l_in1k": ("2", 85.3, None, 218, 42.1),
    "mvitv2_h_in1k": ("1", None, None, 667, 120.6),
    "mvitv2_b_in1k_384": ("2", 85.2, 85.6, 52, 36.7),
    "mvitv2_l_in1k_384": ("2", 86.0, 86.3, 218, 140.2),
    "mvitv2_l_in21k_to_in1k": ("3", 87.5, None, 218, 42.1),
    "mvitv2_l_in21k_to_in1k_384": ("3", 88.2, 88.4, 218, 140.7),
    "mvitv2_h_in21k_to_in1k": ("3", 88.0, None, 667, 120.6),
    "mvitv2_h_in21k_to_in1k_384": ("3", 88.3, 88.6, 667, 388.5),
    "mvitv2_h_in21k_to_in1k_512": ("3", 88.3, 88.8, 667, 763.5),
}

# one config per structure: mean or class token, widening, checkpointing
STRUCTURES = ["mvitv2_t_in1k", "mvitv2_s_in21k", "mvitv2_l_in1k", "mvitv2_h_in1k_384"]


def test_every_config_has_a_recipe_here():
    assert {path.stem for path in FILES} == set(RECIPES)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_config(path, tmp_path):
    """It reloads as it was saved, and equals its recipe and its row in the README."""
    recipe = RECIPES[path.stem]
    check_task(reloaded(path, tmp_path), Classification)
    cfg = shipped_config(path)
    model = meta_model(cfg)
    check_model(cfg, model, recipe)
    check_training(path.stem, cfg, recipe)
    check_data(cfg, recipe)
    check_readme(path, cfg, recipe)
    check_sizes(shipped_config(path), recipe.size)
    check_optimizer(path.stem, cfg, model, recipe)


def check_model(cfg, model, recipe: Recipe) -> None:
    row, vit = VARIANTS[recipe.variant], cfg.model.backbone
    assert (vit.embed_dim, vit.num_heads) == (row.embed_dim, row.num_heads)
    assert tuple(vit.last_block_indexes) == row.last_block_indexes
    assert vit.drop_path_rate == recipe.drop_path
    assert tuple(vit.input_size) == (recipe.size, recipe.size)
    assert vit.get("expand_in", "attention") == recipe.expand_in
    assert vit.get("use_act_checkpoint", False) == (recipe.variant == "H")
    assert cfg.model.num_classes == recipe.classes
    assert (model.backbone.cls_token is not None) == recipe.class_token
    assert model.readout == ("class_token" if recipe.class_token else "mean")
    assert model.head.dropout.p == 0
    parameters = sum(p.numel() for p in model.parameters()) / MILLION
    assert parameters == pytest.approx(recipe.parameters, abs=6e-4)
    # the paper's L widens in the MLP throughout
    if "parameters" in cfg.published and not (recipe.variant == "L" and recipe.class_token):
        assert abs(parameters - cfg.published.parameters) < 0.6


def check_optimizer(name: str, cfg, model, recipe: Recipe) -> None:
    assert cfg.dataloader.train.total_batch_size == recipe.batch
    lr = recipe.lr_per_256 * recipe.batch / 256
    assert cfg.optimizer.lr == pytest.approx(lr)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["eps"], tuple(optimizer.defaults["betas"])) == (1e-8, (0.9, 0.999))
    decaying, no_decay = optimizer.param_groups
    assert (decaying["weight_decay"], no_decay["weight_decay"]) == (recipe.weight_decay, 0.0)
    assert decaying["lr"] == no_decay["lr"] == cfg.optimizer.lr

    per_epoch = recipe.images // recipe.batch
    assert cfg.train.max_iter == recipe.epochs * per_epoch
    check_schedule(cfg, epochs=recipe.epochs, warmup=recipe.warmup, start=4e-5, end=4e-3)
    schedule = instantiate(cfg.lr_multiplier)
    if name.endswith("_in1k") and recipe.images == IN1K and recipe.epochs == 300:
        assert lr * schedule(0.0) == pytest.approx(8e-8)
        assert lr * schedule(70 / 300) == pytest.approx(2e-3)
        assert lr * schedule(1.0) == pytest.approx(8e-6)


def check_training(name: str, cfg, recipe: Recipe) -> None:
    train = cfg.train
    assert train.clip_gradients == 1.0 and train.gradient_accumulation == 1
    assert not train.ema.enabled and not train.amp.enabled
    assert train.best_metric == "classification/top1"
    assert train.init_checkpoint == recipe.start
    assert train.output_dir == f"output/{name}"
    if recipe.start.startswith("output/"):  # another config makes it
        assert Path(recipe.start).parts[1] in RECIPES
    else:
        assert not recipe.start or recipe.start in PUBLISHED
    assert cfg.published.get("weights") in {None, name} | set(PUBLISHED)
    keys = ("table", "top1", "top1_resize", "parameters", "flops")
    expected = PAPER.get(name, (None,) * 5)
    assert tuple(cfg.published.get(key) for key in keys) == expected


def check_data(cfg, recipe: Recipe) -> None:
    loader = cfg.dataloader.train
    mix = (0.8, 1.0, 0.1) if recipe.mixup else (0.0, 0.0, 0.0)
    collate = loader.collate
    assert (collate.mixup_alpha, collate.cutmix_alpha, collate.label_smoothing) == mix
    assert (collate.prob, collate.switch_prob) == (1.0, 0.5)
    assert collate.num_classes == recipe.classes and loader.repeats == 1
    transform = loader.mapper.transform
    assert transform.auto_augment == "rand-m9-n6-mstd0.5-inc1"
    assert (tuple(transform.scale), tuple(transform.ratio)) == ((0.08, 1.0), (3 / 4, 4 / 3))
    assert (transform.hflip, transform.erase_prob) == (0.5, 0.25)
    assert transform.interpolation == "bicubic"
    joint = recipe.classes == 19168
    assert loader.dataset.num_classes == recipe.classes
    assert cfg.dataloader.test.dataset.num_classes == 1000
    assert cfg.dataloader.test.dataset.root == "imagenet/val"
    assert cfg.dataloader.evaluator[0].get("classes") == (1000 if joint else None)
    assert loader.dataset.root == (["imagenet/train", "imagenet21k"] if joint else "imagenet/train")
    assert loader.dataset.classes == ("imagenet21k_classes.txt" if joint else "imagenet-1k")
    assert cfg.dataloader.test.dataset.classes == "imagenet-1k"


def check_sizes(cfg, side: int) -> None:
    """Images have the size of the model, by both protocols of a test."""
    photo = Image.new("RGB", (100, 60), (255, 0, 0))
    photo.paste((0, 0, 255), (0, 0, 6, 60))  # a blue rim, which the central crop cuts off
    train, test = cfg.dataloader.train.mapper, cfg.dataloader.test.mapper
    for mapper in (train, test):
        assert instantiate(mapper.transform)(photo).shape == (3, side, side)
    blue = {}
    for protocol in ("center", "resize"):
        test.transform.protocol = protocol
        blue[protocol] = instantiate(test.transform)(photo)[2].max() > 2
    assert blue == {"center": False, "resize": True}
    # one key sizes model and data
    apply_overrides(cfg, ["model.backbone.input_size=[32,64]"])
    assert instantiate(train.transform)(photo).shape == (3, 32, 64)


def shrink(cfg) -> None:
    """Keep the structure, with few blocks, channels, pixels and classes."""
    vit = cfg.model.backbone
    vit.update(embed_dim=8 * vit.num_heads, last_block_indexes=(0, 1, 2, 3), input_size=(32, 32))
    cfg.model.num_classes = 5


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_training_step_and_a_test(name):
    cfg = shipped_config(name)
    shrink(cfg)
    samples = [
        dict(inputs=torch.randn(3, 32, 32), labels=label, file_name=f"{label}.jpg")
        for label in range(4)
    ]
    model = trained_a_step(cfg, samples)
    batch = instantiate(cfg.dataloader.test.collate_fn)(samples)
    with torch.no_grad():
        torch.testing.assert_close(model(batch).sum(1), torch.ones(4))


def check_readme(path: Path, cfg, recipe: Recipe) -> None:
    cells = readme_row(path)
    assert cells[1] == f"{recipe.size} x {recipe.size}"
    keys = ("table", "top1", "top1_resize", "parameters", "flops")
    assert cells[2:7] == [str(cfg.published.get(key, "-")) for key in keys]
    assert float(cells[7]) == pytest.approx(recipe.parameters, abs=0.0006)
    for name in (recipe.start, cfg.published.get("weights")):
        assert not name or name not in PUBLISHED or PUBLISHED[name].url in cells[9]
