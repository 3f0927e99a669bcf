"""Detection configs: each equals its recipe and reloads; one per structure trains a small step."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from config_steps import check_task, meta_model, readme_row, reloaded
from detectron2.config import instantiate
from detectron2.structures import BoxMode
from detectron2.utils.events import EventStorage
from PIL import Image
from shipped_configs import CONFIGS, shipped_config
from small_detector import batch, shrink, vit_of

from mvit_det.backbone import VARIANTS
from mvit_det.checkpoint.published import find
from mvit_det.tasks import Detection

# configs of recognition are tested elsewhere
RECOGNITION = {"quickstart_actions", "quickstart_classification", "quickstart_video"}
FILES = sorted(p for p in CONFIGS.glob("*.py") if p.stem not in RECOGNITION)
COCO = [path for path in FILES if not path.stem.startswith("quickstart")]
MILLION = 1e6


class Recipe(NamedTuple):
    """What distinguishes one COCO config from another."""

    variant: str
    weights: str  # of ImageNet
    parameters: int
    drop_path: float
    expand_in: str = "attention"
    lr: float = 1.6e-4
    max_iter: int = 67500
    drops: tuple[int, int] = (52500, 62500)
    large_scale_jitter: bool = False


# Where Detectron2 has a config of the same name, parameters are those of its model.
RECIPES = {
    "mask_rcnn_mvitv2_t_3x": Recipe("T", "MViTv2_T_in1k", 43679568, 0.2),
    "mask_rcnn_mvitv2_s_3x": Recipe("S", "MViTv2_S_in1k", 54376464, 0.2),
    "mask_rcnn_mvitv2_s_single_scale_3x": Recipe("S", "MViTv2_S_in1k", 83287820, 0.2),
    "mask_rcnn_mvitv2_b_3x": Recipe("B", "MViTv2_B_in1k", 70978992, 0.4),
    "mask_rcnn_mvitv2_b_in21k_3x": Recipe("B", "MViTv2_B_in21k", 70978992, 0.4),
    "mask_rcnn_mvitv2_l_3x": Recipe("L", "MViTv2_L_in1k", 237560256, 0.5, "mlp"),
    "mask_rcnn_mvitv2_l_in21k_3x": Recipe("L", "MViTv2_L_in21k", 232942608, 0.5),
    "cascade_mask_rcnn_mvitv2_t_3x": Recipe("T", "MViTv2_T_in1k", 75847614, 0.2),
    "cascade_mask_rcnn_mvitv2_s_3x": Recipe("S", "MViTv2_S_in1k", 86544510, 0.2),
    "cascade_mask_rcnn_mvitv2_b_3x": Recipe("B", "MViTv2_B_in1k", 103147038, 0.4),
    "cascade_mask_rcnn_mvitv2_b_in21k_3x": Recipe("B", "MViTv2_B_in21k", 103147038, 0.4),
    "cascade_mask_rcnn_mvitv2_l_3x": Recipe("L", "MViTv2_L_in1k", 269728302, 0.5, "mlp"),
    "cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep": Recipe(
        "L",
        "MViTv2_L_in21k",
        265110654,
        0.5,
        lr=1e-4,
        max_iter=92187,
        drops=(81944, 88773),
        large_scale_jitter=True,
    ),
    "cascade_mask_rcnn_mvitv2_h_in21k_lsj_3x": Recipe(
        "H", "MViTv2_H_in21k", 718155998, 0.6, large_scale_jitter=True
    ),
}
RECIPES["cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep_multiscale"] = RECIPES[
    "cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep"
]


# one config per structure: pyramid or not, widening, checkpointing, cascade, several views
STRUCTURES = [
    "mask_rcnn_mvitv2_s_single_scale_3x",
    "mask_rcnn_mvitv2_l_3x",
    "cascade_mask_rcnn_mvitv2_h_in21k_lsj_3x",
    "cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep_multiscale",
    "quickstart",
    "quickstart_cascade",
]


def test_every_config_for_coco_has_a_recipe_here():
    assert {path.stem for path in COCO} == set(RECIPES)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_training_step_and_a_test(name):
    cfg = shipped_config(name)
    shrink(cfg.model)
    model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    with EventStorage():
        losses = model(batch(cfg.model.roi_heads.num_classes))
    stages = [f"_stage{k}" for k in range(3)] if "cascade" in name else [""]
    boxes = {f"{loss}{stage}" for loss in ("loss_cls", "loss_box_reg") for stage in stages}
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc", "loss_mask", *boxes}
    total = sum(losses.values())
    total.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert torch.isfinite(total) and not without
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))

    model.eval()
    with torch.no_grad():
        results = model(batch(cfg.model.roi_heads.num_classes))
    assert [r["instances"].image_size for r in results] == [(64, 96), (80, 64)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_config(path, tmp_path):
    """It reloads as it was saved; one for COCO equals its recipe and its row in the README."""
    cfg = reloaded(path, tmp_path)
    schedule = instantiate(cfg.lr_multiplier)
    assert schedule(0.0) < schedule(0.5) == pytest.approx(1.0)
    check_task(cfg, Detection)
    if path not in COCO:
        return
    recipe = RECIPES[path.stem]
    check_recipe(shipped_config(path), recipe)
    check_parameters(shipped_config(path), recipe)
    check_readme(path, shipped_config(path), recipe)


def check_recipe(cfg, recipe: Recipe) -> None:
    row, vit = VARIANTS[recipe.variant], vit_of(cfg.model)
    assert (vit.embed_dim, vit.depth, vit.num_heads) == (row.embed_dim, row.depth, row.num_heads)
    assert tuple(vit.last_block_indexes) == row.last_block_indexes
    assert vit.drop_path_rate == recipe.drop_path
    assert vit.get("expand_in", "attention") == recipe.expand_in
    assert vit.get("use_act_checkpoint", False) == (recipe.variant == "H")
    assert vit.norm_layer.keywords == {"eps": 1e-6}
    assert cfg.train.init_checkpoint == recipe.weights.lower()
    assert find(cfg.train.init_checkpoint).url.endswith(f"/{recipe.weights}.pyth")
    trained = cfg.published.get("weights")
    assert trained is None or find(trained).format == "detectron2"
    assert cfg.train.max_iter == recipe.max_iter
    assert cfg.dataloader.train.total_batch_size == 64
    assert cfg.train.amp.enabled and cfg.train.ddp.fp16_compression
    optimizer = cfg.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (recipe.lr, 0.1)
    assert tuple(optimizer.betas) == (0.9, 0.999)
    schedule = instantiate(cfg.lr_multiplier)
    at = lambda iteration: schedule(iteration / recipe.max_iter)  # noqa: E731
    assert at(0) == pytest.approx(0.001) and at(125) == pytest.approx(0.5005, abs=1e-3)
    first, second = recipe.drops
    assert at(250) == 1.0 and at(first - 1) == 1.0
    assert at(first + 1) == at(second - 1) == pytest.approx(0.1)
    assert at(second + 1) == at(recipe.max_iter - 1) == pytest.approx(0.01)
    jitter = cfg.dataloader.train.mapper.get("recompute_boxes", False)
    assert jitter == recipe.large_scale_jitter


def count_parameters(cfg) -> int:
    return sum(p.numel() for p in meta_model(cfg).parameters())


def check_parameters(cfg, recipe: Recipe) -> None:
    parameters = count_parameters(cfg)
    assert parameters == recipe.parameters
    # The paper's L widens in the MLP throughout; the released one with IN-21K does not.
    if recipe.variant == "L" and recipe.expand_in != "mlp":
        vit_of(cfg.model).expand_in = "mlp"
        parameters = count_parameters(cfg)
    paper = cfg.published.get("parameters")
    assert paper is None or round(parameters / MILLION) == paper


def check_readme(path, cfg, recipe: Recipe) -> None:
    cells = readme_row(path)
    keys = ("table", "box_ap", "mask_ap", "parameters", "flops")
    assert cells[1:6] == [str(cfg.published.get(key, "-")) for key in keys]
    parameters, flops = map(float, cells[6:8])
    assert parameters == round(recipe.parameters / MILLION, 1)
    # The released L of ImageNet-21K is not quite the paper's.
    released_l = "_l_in21k" in path.stem
    assert flops == pytest.approx(cfg.published.flops, rel=0.05 if released_l else 0.01)
    for link in (cfg.train.init_checkpoint, cfg.published.get("weights", "")):
        assert not link or find(link).url in cells[8]


def test_cascade_heads_are_the_released_ones():
    model = shipped_config("cascade_mask_rcnn_mvitv2_t_3x").model
    assert list(model.proposal_generator.head.conv_dims) == [-1, -1]
    heads = model.roi_heads
    assert heads.mask_head.conv_norm == "naiveSyncBN_N"
    assert [list(m.thresholds) for m in heads.proposal_matchers] == [[0.5], [0.6], [0.7]]
    weights = [tuple(p.box2box_transform.weights) for p in heads.box_predictors]
    assert weights == [(10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15)]
    for head, predictor in zip(heads.box_heads, heads.box_predictors, strict=True):
        assert list(head.conv_dims) == [256] * 4 and list(head.fc_dims) == [1024]
        assert head.conv_norm == "naiveSyncBN_N"
        assert predictor.cls_agnostic_bbox_reg and predictor.test_score_thresh == 0.05
        assert predictor.num_classes == 80 and predictor.input_shape.channels == 1024


def test_anchors_are_those_of_the_released_detectors():
    for name in ("mask_rcnn_mvitv2_t_3x", "mask_rcnn_mvitv2_s_single_scale_3x"):
        anchors = shipped_config(name).model.proposal_generator.anchor_generator
        assert anchors.offset == 0.0
        assert [s for level in anchors.sizes for s in level] == [32, 64, 128, 256, 512]
        assert list(anchors.aspect_ratios) == [0.5, 1.0, 2.0]


def test_weight_decay_omits_norms_and_positions_but_not_biases():
    cfg = shipped_config("mask_rcnn_mvitv2_t_3x")
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
        no_decay = "norm" in name or "rel_pos" in name
        assert decay[id(parameter)] == (0.0 if no_decay else 0.1), name


def test_augmentation_has_the_released_crop_branch():
    cfg = shipped_config("mask_rcnn_mvitv2_t_3x")
    branch, resize, flip = cfg.dataloader.train.mapper.augmentations
    assert branch.prob == 0.5
    first, crop = branch.tfm_or_aug.augs
    assert list(first.short_edge_length) == [400, 500, 600]
    assert (crop.crop_type, tuple(crop.crop_size)) == ("absolute_range", (384, 600))
    sides = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    assert tuple(resize.short_edge_length) == sides
    assert resize.max_size == 1333 and flip.horizontal


def test_large_scale_jitter_is_the_released_one_and_pads_masks_with_background():
    cfg = shipped_config("cascade_mask_rcnn_mvitv2_h_in21k_lsj_3x")
    flip, scale, crop = cfg.dataloader.train.mapper.augmentations
    assert flip.horizontal
    assert (scale.min_scale, scale.max_scale) == (0.1, 2.0)
    assert (scale.target_height, scale.target_width) == tuple(crop.crop_size) == (1024, 1024)
    assert cfg.dataloader.train.mapper.image_format == "RGB"
    pad = instantiate(crop).get_transform(np.zeros((10, 20, 3), dtype=np.uint8))
    image = pad.apply_image(np.zeros((10, 20, 3), dtype=np.uint8))
    assert image.shape == (1024, 1024, 3) and image[10:].min() == image[:, 20:].max() == 128
    assert pad.apply_segmentation(np.ones((10, 20), dtype=np.uint8)).sum() == 200


def test_large_scale_jitter_computes_boxes_from_cropped_masks(tmp_path):
    cfg = shipped_config("cascade_mask_rcnn_mvitv2_h_in21k_lsj_3x")
    cfg.dataloader.train.mapper.augmentations[1].min_scale = 2.0
    mapper = instantiate(cfg.dataloader.train.mapper)
    Image.new("RGB", (64, 64)).save(tmp_path / "image.png")
    wedge = [0, 0, 64, 0, 0, 16]
    thing = dict(bbox=[0, 0, 64, 16], bbox_mode=BoxMode.XYWH_ABS, segmentation=[wedge])
    image = dict(file_name=str(tmp_path / "image.png"), height=64, width=64, image_id=1)
    np.random.seed(0)
    boxes = []
    for _ in range(8):
        mapped = mapper({**image, "annotations": [{**thing, "category_id": 0, "iscrowd": 0}]})
        objects = mapped["instances"]
        assert mapped["image"].shape == (3, 1024, 1024)
        tight = objects.gt_masks.get_bounding_boxes().tensor
        torch.testing.assert_close(objects.gt_boxes.tensor, tight)
        boxes += tight.tolist()
    # cropped anywhere, the wedge ends before the corner of its cropped box
    assert boxes
