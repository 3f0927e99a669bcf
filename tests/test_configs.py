"""Every config loads, survives saving and reloading, and trains a shrunken step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from mvit_det.backbone import VARIANTS
from mvit_det.engine import load_config
from omegaconf import OmegaConf

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
FILES = sorted(CONFIGS.glob("*.py"))
COCO = [path for path in FILES if path.stem != "quickstart"]


def shrink(model) -> None:
    """Keep the structure of a detector, but with a few channels."""
    vit = model.backbone.bottom_up
    vit.embed_dim = 8 * vit.num_heads
    model.backbone.out_channels = 16
    model.roi_heads.box_head.fc_dims = [32, 32]
    model.roi_heads.mask_head.conv_dims = [16] * len(model.roi_heads.mask_head.conv_dims)


def batch(num_classes: int) -> list[dict]:
    """Two images of different size: one with two objects, one with none."""
    rng = np.random.default_rng(0)
    inputs = []
    for height, width, count in ((64, 96, 2), (80, 64, 0)):
        objects = Instances((height, width))
        objects.gt_boxes = Boxes(torch.tensor([[4.0, 8, 40, 50], [30, 20, 60, 60]])[:count])
        objects.gt_classes = torch.tensor([0, num_classes - 1])[:count]
        masks = torch.zeros(count, height, width, dtype=torch.bool)
        masks[:, 25:45, 32:38] = True
        objects.gt_masks = BitMasks(masks)
        image = torch.from_numpy(rng.integers(0, 255, (3, height, width), dtype=np.uint8))
        inputs.append(dict(image=image, height=height, width=width, instances=objects))
    return inputs


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_config_saves_reloads_and_trains_a_step(path, tmp_path):
    cfg = load_config(str(path))
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    reloaded = load_config(str(tmp_path / "config.yaml"))
    assert OmegaConf.to_container(reloaded).keys() == OmegaConf.to_container(cfg).keys()
    LazyConfig.save(reloaded, str(tmp_path / "again.yaml"))
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "config.yaml").read_text()

    shrink(reloaded.model)
    model = instantiate(reloaded.model)
    reloaded.optimizer.params.model = model
    optimizer = instantiate(reloaded.optimizer)
    schedule = instantiate(reloaded.lr_multiplier)
    assert schedule(0.0) < schedule(0.5) == pytest.approx(1.0)
    with EventStorage():
        losses = model(batch(reloaded.model.roi_heads.num_classes))
    assert set(losses) == {
        "loss_rpn_cls",
        "loss_rpn_loc",
        "loss_cls",
        "loss_box_reg",
        "loss_mask",
    }
    total = sum(losses.values())
    total.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert torch.isfinite(total) and not without
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))

    model.eval()
    with torch.no_grad():
        results = model(batch(reloaded.model.roi_heads.num_classes))
    assert [r["instances"].image_size for r in results] == [(64, 96), (80, 64)]


@pytest.mark.parametrize("path", COCO, ids=lambda p: p.stem)
def test_coco_recipe_is_the_released_one(path):
    cfg = load_config(str(path))
    variant = VARIANTS[path.stem.split("_")[3].upper()]
    vit = cfg.model.backbone.bottom_up
    assert (vit.embed_dim, vit.depth, vit.num_heads) == (
        variant.embed_dim,
        variant.depth,
        variant.num_heads,
    )
    assert tuple(vit.last_block_indexes) == variant.last_block_indexes
    drop_path = {"T": 0.2, "S": 0.2, "B": 0.4, "L": 0.5}
    assert vit.drop_path_rate == drop_path[path.stem.split("_")[3].upper()]
    assert vit.get("expand_in", "attention") == ("mlp" if "_l_" in path.stem else "attention")
    assert cfg.train.max_iter == 67500 and cfg.dataloader.train.total_batch_size == 64
    assert cfg.train.amp.enabled and cfg.train.ddp.fp16_compression
    optimizer = cfg.optimizer
    assert (optimizer.lr, optimizer.weight_decay, tuple(optimizer.betas)) == (
        1.6e-4,
        0.1,
        (0.9, 0.999),
    )
    schedule = instantiate(cfg.lr_multiplier)
    at = lambda iteration: schedule(iteration / 67500)  # noqa: E731
    assert at(0) == pytest.approx(0.001) and at(125) == pytest.approx(0.5005, abs=1e-3)
    assert at(250) == 1.0 and at(52499) == 1.0
    assert at(52501) == pytest.approx(0.1) and at(62501) == pytest.approx(0.01)


def test_weight_decay_spares_norms_and_positions_but_not_biases():
    cfg = load_config(str(CONFIGS / "mask_rcnn_mvitv2_t_3x.py"))
    shrink(cfg.model)
    model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    decay = {
        id(p): group["weight_decay"]
        for group in instantiate(cfg.optimizer).param_groups
        for p in group["params"]
    }
    assert set(decay) == {id(p) for p in model.parameters()}
    for name, parameter in model.named_parameters():
        spared = "norm" in name or "rel_pos" in name
        assert decay[id(parameter)] == (0.0 if spared else 0.1), name


def test_augmentation_has_the_released_crop_branch():
    augmentations = load_config(str(COCO[0])).dataloader.train.mapper.augmentations
    branch, resize, flip = augmentations
    assert branch.prob == 0.5
    first, crop = branch.tfm_or_aug.augs
    assert list(first.short_edge_length) == [400, 500, 600]
    assert (crop.crop_type, tuple(crop.crop_size)) == ("absolute_range", (384, 600))
    assert tuple(resize.short_edge_length) == (
        480,
        512,
        544,
        576,
        608,
        640,
        672,
        704,
        736,
        768,
        800,
    )
    assert resize.max_size == 1333 and flip.horizontal
