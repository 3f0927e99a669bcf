"""Faults that a user can fix end in one sentence with the value and the fix."""

import json
import re

import pytest
import torch
from detectron2.config import LazyCall as L
from train_runs import QUICKSTART, ROOT, custom_flags, start

import train_net  # noqa: E402  the script, as a module
from mvit_det.engine import apply_overrides, load_config
from mvit_det.engine.guarded_test import judge_test
from mvit_det.errors import UserError

pytestmark = pytest.mark.usefixtures("datasets_folder")


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("train.max_itr=2", "'train' has no 'max_itr'; the nearest key is 'train.max_iter'"),
        ("optimzer.lr=3", "there is no 'optimzer'; the nearest key is 'optimizer'"),
        ("model.roi_heads.num_clases=3", "nearest key is 'model.roi_heads.num_classes'"),
        ("dataloader.train.total_batch_sise=3", "'dataloader.train.total_batch_size'"),
        ("dataloader.evaluator.7.dataset_name=x", "'dataloader.evaluator' has no '7'"),
        ("model.soft_nsm=linear", "nearest key is 'model.soft_nms'"),
        ("train.max_iter=abc", "train.max_iter=abc must be a number"),
        ("train.amp.enabled=3", "train.amp.enabled=3 must be true or false"),
        ("train.max_iter 2", "write key=value without spaces"),
        ("--eval-only", "must come before"),
        ("~train.seed", "a key cannot be deleted"),
    ],
)
def test_a_wrong_override_is_refused_with_the_nearest_key(override, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        apply_overrides(load_config(QUICKSTART), [override])


def test_right_overrides_pass(tmp_path):
    cfg = apply_overrides(
        load_config(QUICKSTART),
        [
            "train.max_iter=7",
            "optimizer.lr=1e-4",
            "optimizer.eps=1e-6",  # an argument that the config leaves at its default
            "model.backbone.bottom_up.use_act_checkpoint=True",
            "dataloader.test.mapper.augmentations.0.short_edge_length=64",
            "dataloader.train.mapper.recompute_boxes=true",  # an argument of the base class
            "model.soft_nms=linear",
            "model.test_short_sides=[96,128]",
            "+train.note=mine",
            "train.init_checkpoint=",
        ],
    )
    assert cfg.model.soft_nms == "linear" and cfg.model.test_short_sides == [96, 128]
    assert (cfg.train.max_iter, cfg.train.note) == (7, "mine")
    assert cfg.optimizer.eps == 1e-6 and cfg.model.backbone.bottom_up.use_act_checkpoint is True
    assert cfg.dataloader.test.mapper.augmentations[0].short_edge_length == 64


def test_a_wrong_config_path_names_the_nearest():
    with pytest.raises(UserError, match=r"does not exist; the nearest is .*quickstart\.py"):
        start("--config-file", QUICKSTART.replace("quickstart", "quickstat"))


def test_a_dataset_that_is_not_on_disk(tmp_path):
    with pytest.raises(UserError, match="coco_2017_train.*not on disk.*DETECTRON2_DATASETS"):
        start(
            "--config-file",
            str(ROOT / "configs" / "mask_rcnn_mvitv2_t_3x.py"),
            f"train.output_dir={tmp_path}",
            "train.device=cpu",
        )


def test_custom_data_without_images(custom_files):
    with pytest.raises(UserError, match="--train-images is missing"):
        start(
            "--config-file", QUICKSTART, "--train-json", "a.json", *custom_flags(custom_files)[4:]
        )


def test_custom_data_and_overrides_correct_a_config(custom_files, tmp_path):
    (tmp_path / "faulty.py").write_text(
        "from mvit_det import get_config\n"
        "globals().update(get_config('mask_rcnn_mvitv2_t_3x'))\n"
        "train.max_iter = dataloader.train.total_batch_size = 'x'\n"
        "dataloader.test.dataset = None\n"
    )
    given = ["--config-file", str(tmp_path / "faulty.py"), *custom_flags(custom_files)]
    given += [f"train.output_dir={tmp_path}", "train.device=cpu"]
    with pytest.raises(UserError, match="train.total_batch_size='x' of the config must be a whole"):
        start(*given)
    given += ["dataloader.train.total_batch_size=16"]
    cfg, _ = train_net.setup(train_net.argument_parser().parse_args(given))
    assert (cfg.train.max_iter, cfg.dataloader.train.total_batch_size) == (500, 16)
    # the rate of the corrected config, scaled from 16 to 2 images
    released = load_config("mask_rcnn_mvitv2_t_3x").optimizer.lr
    assert cfg.optimizer.lr == round(released * (2 / 16) ** 0.5, 8)
    with pytest.raises(UserError, match="Override train.max_iter=y must be a number"):
        start(*given, "train.max_iter=y")


DEEPER = [
    "model.backbone.bottom_up.depth=5",
    "model.backbone.bottom_up.last_block_indexes=[0,1,3,4]",
]


def test_refused_and_evaluating_runs_keep_the_config_of_the_folder(detector):
    before = (detector / "config.yaml").read_bytes()
    arguments = [detector, f"train.output_dir={detector}"]
    with pytest.raises(UserError, match="holds the checkpoints of another run"):
        start(*arguments, "model.backbone.out_channels=32")
    with pytest.raises(UserError, match="another architecture"):
        start("--resume", *arguments, "model.backbone.out_channels=32")
    with pytest.raises(UserError, match="another architecture"):
        start(
            "--eval-only",
            *arguments,
            "model.backbone.out_channels=32",
            f"train.init_checkpoint={detector / 'model_final.pth'}",
        )
    assert (detector / "config.yaml").read_bytes() == before


def test_weights_that_are_not_finite_are_refused(detector, tmp_path):
    weights = torch.load(detector / "model_0000003.pth", weights_only=True)["model"]
    weights["roi_heads.mask_head.predictor.bias"].fill_(float("nan"))
    torch.save({"model": weights}, tmp_path / "nan.pth")
    with pytest.raises(UserError, match="not finite, in roi_heads.mask_head.predictor.bias"):
        start(
            detector,
            f"train.init_checkpoint={tmp_path / 'nan.pth'}",
            f"train.output_dir={tmp_path / 'run'}",
        )


def broken_transform():
    """A test transform that can be built, and fails on each sample."""

    def fail(*_):
        raise KeyError("no key")

    return fail


@pytest.mark.parametrize("name, count, message", [
    ("quickstart", 4, r"None of 3 test samples .*\.jpg .*mode.*: correct dataloader.test.mapper"),
    ("quickstart_classification", 24, r"\.jpg cannot be prepared .*'no key'.*test.mapper"),
    ("quickstart_video", 10, r"\.mp4 cannot be prepared .*KeyError: 'no key'.*test.mapper"),
    ("quickstart_actions", 4, r"\.mp4 cannot be prepared .*KeyError: 'no key'.*test.mapper"),
])  # fmt: skip
def test_a_test_mapper_that_cannot_work_is_found_at_start(name, count, message):
    cfg = load_config(name)
    cfg.dataloader.test.dataset.update(num_train=count, num_val=count)
    if name == "quickstart":
        cfg.dataloader.test.mapper.image_format = "XYZ"
    else:
        cfg.dataloader.test.mapper.transform = L(broken_transform)()
    with pytest.raises(UserError, match=message):
        judge_test(cfg, lambda dataset: None)


@pytest.mark.parametrize(
    "override, message",
    [
        ("train.max_iter=0", "train.max_iter=0 of the config must be a whole number of at least 1"),
        ("train.device=cuda:4321", "train.device=cuda:4321 cannot be used here"),
        (
            "model.backbone.bottom_up.out_features=[scale9]",
            r"The model of the config cannot be built: out_features has \['scale9'\]",
        ),
        (
            "lr_multiplier.scheduler.milestones=[9,3,5]",
            "The lr_multiplier of the config cannot be built",
        ),
    ],
)
def test_values_that_cannot_be_used_end_in_a_sentence(override, message, detector, tmp_path):
    with pytest.raises(UserError, match=message):
        start(detector, override, f"train.output_dir={tmp_path}")


@pytest.mark.parametrize(
    "weights, overrides, message",
    [
        ("nowhere.pth", [], "nowhere.pth do not exist"),
        ("", [], "--eval-only needs weights"),
        (b"<html>Log in first.</html>", [], "page.pth .*a web page"),
        (b"", [], "page.pth .*an empty file"),
        ("model_0000003.pth", DEEPER, "another architecture.*missing.*unexpected.*mismatched"),
    ],
)
def test_weights_that_cannot_be_evaluated(weights, overrides, message, detector, tmp_path):
    if isinstance(weights, bytes):
        (tmp_path / "page.pth").write_bytes(weights)
        weights = tmp_path / "page.pth"
    weights = weights and detector / weights
    with pytest.raises(UserError, match=message):
        start(detector, "--eval-only", f"train.init_checkpoint={weights}", *overrides)


def test_starting_from_another_architecture_is_refused_but_other_classes_are_not(
    detector, custom_files, tmp_path
):
    common = [
        detector,
        f"train.init_checkpoint={detector / 'model_0000003.pth'}",
        f"train.output_dir={tmp_path}",
        "train.max_iter=1",
        "train.eval_period=0",
    ]
    with pytest.raises(UserError, match="9 classes.*5 classes|5 classes.*9"):
        start(*common, "model.roi_heads.num_classes=9")
    # fewer classes: the heads are new, the backbone fits
    single = json.loads((custom_files / "train" / "annotations.json").read_text())
    single["categories"] = [dict(id=1, name="thing")]
    for annotation in single["annotations"]:
        annotation["category_id"] = 1
    (tmp_path / "single.json").write_text(json.dumps(single))
    flags = custom_flags(custom_files)
    flags[1] = flags[5] = str(tmp_path / "single.json")
    flags[7] = flags[3]
    start(*flags, *common)
    with pytest.raises(UserError, match="another architecture"):
        start(*common, "model.backbone.bottom_up.embed_dim=16", f"train.output_dir={tmp_path}/2")


def test_diverging_names_term_iteration_and_images(detector, tmp_path):
    weights = torch.load(detector / "model_0000003.pth", weights_only=True)
    weights["model"]["roi_heads.mask_head.predictor.bias"].fill_(3e38)
    torch.save({"model": weights["model"]}, tmp_path / "nan.pth")
    with pytest.raises(
        UserError,
        match=r"iteration 0: loss_mask=(nan|inf), .* images .*\.(png|jpg).*lower optimizer.lr",
    ):
        start(
            detector,
            f"train.init_checkpoint={tmp_path / 'nan.pth'}",
            f"train.output_dir={tmp_path}",
        )
    assert not (tmp_path / "model_final.pth").exists()
