"""Faults that a user can fix end in one sentence with the value and the fix."""

import json
import random
import re
import shutil
import string
from pathlib import Path

import forked
import pytest
import torch
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf
from shipped_configs import shipped_config
from train_runs import QUICKSTART, ROOT, TINY, command, custom_flags, lines, start

import train_net  # noqa: E402  the script, as a module
from mvit_det.engine import apply_overrides, load_config
from mvit_det.engine.guarded_test import judge_test
from mvit_det.engine.trainer import Trainer
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
def test_row_34_a_wrong_override_is_refused_with_the_nearest_key(override, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        apply_overrides(load_config(QUICKSTART), [override])


def keys_of(node, prefix: str = "") -> list[str]:
    """All keys of a config, with those of sections."""
    found = []
    names = range(len(node)) if OmegaConf.is_list(node) else [n for n in node if n != "_target_"]
    for name in names:
        found.append(f"{prefix}{name}")
        if not OmegaConf.is_interpolation(node, name) and OmegaConf.is_config(node[name]):
            found += keys_of(node[name], f"{prefix}{name}.")
    return found


def misspelled(draw: random.Random, name: str) -> str:
    """The name with one letter left out, added, changed, or exchanged with the next."""
    at, letter = draw.randrange(len(name)), draw.choice(string.ascii_lowercase)
    left, here, right = name[:at], name[at], name[at + 1 :]
    ways = [left + right, left + letter + here + right, left + letter + right]
    return draw.choice([*ways, left + right[:1] + here + right[1:]])


QUICKSTARTS = ["", "_cascade", "_classification", "_video", "_actions"]


@pytest.mark.parametrize("kind", QUICKSTARTS)
def test_row_34_generated_typos_are_refused_with_the_right_key(kind):
    """Fifty for each config."""
    draw, cfg = random.Random(f"typos of {kind}"), shipped_config(f"quickstart{kind}")
    keys = [key for key in keys_of(cfg) if re.search("[a-z]{4}", key.rpartition(".")[2])]
    done = 0
    while done < 50:
        key = draw.choice(keys)
        parts = key.split(".")
        at = draw.choice([i for i, part in enumerate(parts) if len(part) > 3])
        wrong = [*parts[:at], misspelled(draw, parts[at]), *parts[at + 1 :]]
        if ".".join(wrong[: at + 1]) in keys_of(cfg):
            continue  # another key
        with pytest.raises(UserError) as raised:
            apply_overrides(cfg, [f"{'.'.join(wrong)}=1"])
        message, right = str(raised.value), ".".join(parts[: at + 1])
        assert f"'{'.'.join(wrong)}'" in message and "\n" not in message
        assert f"the nearest key is '{right}'" in message, message
        done += 1


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


def test_row_35_a_dataset_that_is_not_on_disk(tmp_path):
    with pytest.raises(UserError, match="coco_2017_train.*not on disk.*DETECTRON2_DATASETS"):
        start(
            "--config-file",
            str(ROOT / "configs" / "mask_rcnn_mvitv2_t_3x.py"),
            f"train.output_dir={tmp_path}",
            "train.device=cpu",
        )


def check_one_line(folder: Path, sentence: str, *arguments: str) -> None:
    """The command ends with this error, in one line."""
    arguments = *arguments, "train.device=cpu", f"train.output_dir={folder / 'run'}"
    done = forked.run(command, "--config-file", *arguments, output=folder / "printed")
    (line,) = (line for line in done.stderr.splitlines() if "error" in line.lower())
    assert done.returncode == 1 and re.match("error: .*" + sentence, line), line
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("coco_2017_train", "is not on disk"),
        ("coco_2017_trian", "nearest names are coco_2017_train"),
    ],
)
def test_row_35_an_unknown_or_absent_dataset_is_one_line(name, sentence, tmp_path):
    override = f"dataloader.train.dataset.names={name}"
    check_one_line(tmp_path, sentence, "mask_rcnn_mvitv2_t_3x", override)


@pytest.mark.slow
def test_row_35_no_network_is_one_line(tmp_path):
    url = "https://127.0.0.1:9/weights.pth"  # asked several times, with pauses
    sentence = f"{url} .*put a copy of the file at"
    check_one_line(tmp_path, sentence, QUICKSTART, f"train.init_checkpoint={url}")


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


@pytest.fixture
def no_iteration(monkeypatch):
    monkeypatch.setattr(Trainer, "run_step", lambda _: pytest.fail("an iteration has begun"))


@pytest.mark.parametrize("number", [3, 9])
def test_row_22_a_model_of_other_classes_than_the_data(number, tmp_path, no_iteration):
    """Of data by name; custom data set the number of classes."""
    with pytest.raises(UserError, match=rf"num_classes={number}.* 5 |5 classes.* {number}\b"):
        start(
            "--config-file",
            QUICKSTART,
            f"model.roi_heads.num_classes={number}",
            f"train.output_dir={tmp_path}",
        )


def test_row_11_other_classes_on_resume_are_refused(detector, custom_files, no_iteration):
    """By the key, and by data of other classes."""
    before = {path: path.read_bytes() for path in detector.glob("*.pth")}
    with pytest.raises(UserError, match=r"5 classes.* 9: set model.roi_heads.num_classes=5"):
        start("--resume", detector, "model.roi_heads.num_classes=9", "train.max_iter=6")
    coco = json.loads((custom_files / "train" / "annotations.json").read_text())
    coco["categories"].append(dict(id=99, name="another"))
    (custom_files / "more.json").write_text(json.dumps(coco))
    flags = custom_flags(custom_files)
    flags[1] = flags[5] = str(custom_files / "more.json")
    flags[7] = flags[3]
    with pytest.raises(UserError, match="5 classes and the model 6"):
        start("--resume", detector, *flags, "train.max_iter=6")
    assert before == {path: path.read_bytes() for path in detector.glob("*.pth")}


# ---- Images and annotations that are bad, in a training.


def copied(custom_files, folder) -> list[str]:
    """The flags of a copy of the custom data, which a test may damage."""
    shutil.copytree(custom_files, folder)
    return custom_flags(folder)


def damage(kind: str, path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    if kind != "missing":
        html = b"<!DOCTYPE html><p>Log in</p>"
        cut = content[: len(content) // 2]
        path.write_bytes({"empty": b"", "HTML": html, "truncated": cut}[kind])


@pytest.mark.parametrize("kind", ["truncated", "empty", "HTML", "missing"])
def test_row_16_a_training_skips_bad_images_or_stops(kind, custom_files, tmp_path):
    """The option is the share of bad images that is allowed: one of six, or none."""
    flags = copied(custom_files, tmp_path / "data")
    (first, *_) = sorted((tmp_path / "data" / "train" / "images").iterdir())
    damage(kind, first)
    arguments = ["--config-file", QUICKSTART, *flags, *TINY, "train.init_checkpoint="]
    arguments += ["train.max_iter=6", "train.eval_period=0", "dataloader.evaluator=[]"]
    arguments.append("train.best_metric=")
    shares = ("dataloader.train.dataset.max_bad_share", "dataloader.train.mapper.max_bad_share")
    skips, stops = ([f"{key}={share}" for key in shares] for share in (0.5, 0))
    skips.append("dataloader.train.mapper.min_seen=6")
    start(*arguments, *skips, f"train.output_dir={tmp_path / 'skips'}")
    log = (tmp_path / "skips" / "log.txt").read_text()
    counted = f"1  images dropped: .*{first.name}" if kind != "truncated" else f"{first} .* skipped"
    assert re.search(counted, log) and (tmp_path / "skips" / "model_final.pth").exists()
    with pytest.raises(UserError, match=rf"1 of .*{first.name}.*max_bad_share"):
        start(*arguments, *stops, f"train.output_dir={tmp_path / 'stops'}")
    assert not (tmp_path / "stops" / "model_final.pth").exists()


def test_row_20_one_object_without_mask_and_one_in_rle(custom_files, tmp_path):
    flags = copied(custom_files, tmp_path / "data")
    path = Path(flags[1])
    coco = json.loads(path.read_text())
    image = coco["images"][0]
    size = [image["height"], image["width"]]
    first, second = coco["annotations"][:2]
    first["segmentation"] = []
    second.update(
        bbox=[0, 0, 10, size[0]],
        segmentation=dict(size=size, counts=[0, 10 * size[0], size[0] * (size[1] - 10)]),
        image_id=image["id"],
    )
    path.write_text(json.dumps(coco))
    start(
        *("--config-file", QUICKSTART, *flags, *TINY, "train.init_checkpoint="),
        *("train.max_iter=4", "train.eval_period=0", "train.log_period=1"),
        "dataloader.train.dataset.max_bad_share=0.5",
        f"train.output_dir={tmp_path / 'run'}",
    )
    log = (tmp_path / "run" / "log.txt").read_text()
    assert f"1  annotations dropped: no segmentation ({first['id']})" in log
    assert (
        load_config(str(tmp_path / "run" / "config.yaml")).dataloader.train.mapper[
            "instance_mask_format"
        ]
        == "bitmask"
    )
    losses = [row["loss_mask"] for row in lines(tmp_path / "run") if "loss_mask" in row]
    assert len(losses) == 4 and all(loss > 0 for loss in losses)


def test_row_29_a_validation_image_that_vanishes_in_a_training(custom_files, tmp_path, monkeypatch):
    flags = copied(custom_files, tmp_path / "data")
    image = sorted((tmp_path / "data" / "val" / "images").iterdir())[1]
    original = Trainer.run_step

    def run_step(self):
        if self.iter == 1:
            image.unlink()
        original(self)

    monkeypatch.setattr(Trainer, "run_step", run_step)
    output = tmp_path / "run"
    with pytest.raises(UserError, match=r"at iteration 1, 4 is incomplete \(unreadable images: 1"):
        start(
            *("--config-file", QUICKSTART, *flags, *TINY, "train.init_checkpoint="),
            *("train.max_iter=4", "train.eval_period=2", f"train.output_dir={output}"),
            "dataloader.test.dataset.max_bad_share=0.5",
        )
    final = torch.load(output / "model_final.pth", weights_only=True)
    assert final["iteration"] == 3 and not (output / "model_best.pth").exists()
    assert str(image) in (output / "log.txt").read_text()
    assert [row["partial"] for row in lines(output) if "bbox/AP" in row] == [1.0, 1.0]


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
        ("train.eval_precision=fp16", "train.eval_precision=fp16 needs CUDA"),
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
def test_row_33_weights_that_cannot_be_evaluated(weights, overrides, message, detector, tmp_path):
    if isinstance(weights, bytes):
        (tmp_path / "page.pth").write_bytes(weights)
        weights = tmp_path / "page.pth"
    weights = weights and detector / weights
    with pytest.raises(UserError, match=message):
        start(detector, "--eval-only", f"train.init_checkpoint={weights}", *overrides)


def test_row_33_weights_that_match_in_nothing_or_in_part(detector, tmp_path):
    common = [f"train.output_dir={tmp_path / 'run'}", "train.max_iter=1", "train.eval_period=0"]
    weights = torch.load(detector / "model_final.pth", weights_only=True)["model"]
    torch.save(
        {"model": {f"alien{n}": v for n, v in enumerate(weights.values())}}, tmp_path / "alien.pth"
    )
    start_from = f"train.init_checkpoint={tmp_path / 'alien.pth'}"
    for mode in ([], ["--eval-only"]):
        with pytest.raises(UserError, match=r"alien.pth .*: 0 of \d+ backbone tensors fit"):
            start(*mode, detector, start_from, *common)
    part = {k: v for k, v in weights.items() if "mask_head" not in k}
    torch.save({"model": part}, tmp_path / "part.pth")
    start(detector, f"train.init_checkpoint={tmp_path / 'part.pth'}", *common)
    log = (tmp_path / "run" / "log.txt").read_text()
    counted = f"{len(part)} of the model's {len(weights)} tensors come from .*part.pth"
    assert re.search(counted, log) and "keep their initial values, 6:" in log


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


def test_row_14_diverging_names_term_iteration_and_images(detector, tmp_path):
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
