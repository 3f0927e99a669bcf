"""One's own class folders in one command."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from detectron2.config import instantiate
from image_sets import PICTURES, jpeg, write_folders, write_tar

from mvit_det.data.own import use_own_data
from mvit_det.engine import load_config
from mvit_det.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
import train_net  # noqa: E402  the script, as a module

CONFIG = str(ROOT / "configs" / "imagenet" / "mvitv2_t_in1k.py")
NO_JSON = dict(train_json=None, val_json=None)
TINY = [
    "model.backbone.input_size=[32,48]",
    "model.backbone.embed_dim=8",
    "model.backbone.last_block_indexes=[0,1,2,3]",
    "dataloader.train.total_batch_size=3",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
    "dataloader.test.batch_size=2",
    "train.device=cpu",
    "train.max_iter=2",
    "train.eval_period=2",
]


@pytest.fixture
def folders(tmp_path):
    """Training and validation of the same three classes."""
    write_folders(tmp_path / "train")
    write_folders(tmp_path / "val", {"cat/v.jpg": jpeg(1), "eel/v.jpg": jpeg(2), "dog/v.jpg": b""})
    return tmp_path


def own(cfg, train, val, **options):
    train = train and str(train)
    return use_own_data(cfg, train_images=train, val_images=val and str(val), **NO_JSON, **options)


def test_data_classes_and_schedule_are_set(folders, monkeypatch):
    monkeypatch.chdir(folders)
    cfg = load_config(CONFIG)
    released = cfg.optimizer.lr
    own(cfg, "train", "val", processes=2)
    assert cfg.model.num_classes == cfg.dataloader.train.collate.num_classes == 3
    train = instantiate(cfg.dataloader.train.dataset)
    assert len(train) == 6 and cfg.dataloader.train.dataset.root == str(folders / "train")
    assert instantiate(cfg.dataloader.test.dataset).classes == train.classes
    assert cfg.dataloader.evaluator[0].dataset_name == cfg.dataloader.test.dataset.name == "own_val"
    assert cfg.dataloader.train.total_batch_size == 64  # 32 per process
    assert cfg.optimizer.lr == pytest.approx(released * (64 / 2048) ** 0.5, rel=1e-3)
    assert cfg.train.max_iter == 500 and cfg.train.eval_period == 50


def test_passes_over_larger_data(tmp_path):
    names = [f"{kind}/{i}.jpg" for kind in ("a", "b") for i in range(200)]
    root = write_folders(tmp_path / "many", dict.fromkeys(names, b""))
    scratch, tuned = load_config(CONFIG), load_config(CONFIG)
    tuned.train.init_checkpoint = "x.pth"
    assert own(scratch, root, root).train.max_iter == 100 * 400 // 32
    assert own(tuned, root, root, processes=1).train.max_iter == 500  # 30 * 400 // 32 are too few


def test_validation_without_some_of_the_classes_has_the_labels_of_training(folders):
    val = write_folders(folders / "less", {"eel/v.jpg": b""})
    cfg = own(load_config(CONFIG), folders / "train", val)
    assert instantiate(cfg.dataloader.test.dataset).labels.tolist() == [2]


def test_to_evaluate_only_the_second_folder_is_enough(folders):
    cfg = own(load_config(CONFIG), None, folders / "val")
    assert cfg.model.num_classes == 3 and "same_classes_as" not in cfg.dataloader.test.dataset
    assert cfg.dataloader.train.dataset.root == "imagenet/train"


def test_a_config_whose_first_outputs_alone_compete(folders):
    cfg = load_config(str(ROOT / "configs" / "imagenet" / "mvitv2_s_in21k.py"))
    own(cfg, folders / "train", folders / "val")
    assert cfg.dataloader.evaluator[0].classes is None
    assert len(instantiate(cfg.dataloader.test.dataset).classes) == 3
    assert len(instantiate(cfg.dataloader.train.dataset)) == 6


@pytest.mark.parametrize(
    "train, val, sentence",
    [
        ("train", None, "need --val-images as well"),
        ("no", "val", "Image folder .*no does not exist"),
        ("train", "no", "Image folder .*no does not exist"),
        (
            "train",
            "other",
            r"other has the classes fox, which .*train does not have \(cat, dog, eel",
        ),
        ("single", "single", "single class 'cat': a classifier needs two"),
        ("train/cat", "val", "cat has the single class 'deep'"),
    ],
)
def test_folders_that_do_not_do(folders, train, val, sentence):
    write_folders(folders / "other", {"cat/a.jpg": b"", "fox/a.jpg": b""})
    write_folders(folders / "single", {"cat/a.jpg": b""})
    with pytest.raises(UserError, match=sentence):
        own(load_config(CONFIG), folders / train, val and folders / val)


def test_annotations_are_for_detectors(folders):
    with pytest.raises(
        UserError, match=r"^Annotations \(--train-json and --val-json\) are for det"
    ):
        use_own_data(
            load_config(CONFIG),
            train_json="a.json",
            train_images=str(folders / "train"),
            val_json="b.json",
            val_images=str(folders / "val"),
        )
    with pytest.raises(UserError, match="--train-json is missing"):
        own(load_config(str(ROOT / "configs" / "quickstart.py")), folders / "train", "x")


@pytest.mark.parametrize("kind", ["folders", "tar files"])
def test_one_command_trains_and_evaluates(folders, kind):
    train = folders / "train"
    if kind == "tar files":
        (folders / "shards").mkdir()
        write_tar(folders / "shards" / "0.tar", PICTURES)
        train = folders / "shards"
    output = folders / "output"
    flags = ["--train-images", str(train), "--val-images", str(folders / "val")]
    arguments = ["--config-file", CONFIG, *flags, *TINY, f"train.output_dir={output}"]
    train_net.main(train_net.argument_parser().parse_args(arguments))
    saved = load_config(str(output / "config.yaml"))
    assert [entry["name"] for entry in saved.categories] == ["cat", "dog", "eel"]
    rows = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert any("total_loss" in row for row in rows)
    assert any("classification/top1" in row for row in rows)


def test_the_joint_label_set_of_imagenet_21k(tmp_path, monkeypatch, capsys):
    write_folders(tmp_path / "1k", {"n01440764/a.jpg": b"", "n01443537/a.jpg": b""})
    (tmp_path / "21k").mkdir()
    for name in ("n00004475", "n01443537", "n99999999"):
        write_tar(tmp_path / "21k" / f"{name}.tar", {f"{name}_1.JPEG": b""})
    script = str(ROOT / "datasets" / "prepare_imagenet21k_classes.py")
    output = tmp_path / "classes.txt"
    arguments = [script, str(tmp_path / "1k"), str(tmp_path / "21k"), str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(script, run_name="__main__")
    rows = [line.split("\t") for line in output.read_text().splitlines()]
    assert [row[0] for row in rows] == ["n01440764", "n01443537", "n00004475", "n99999999"]
    assert [row[1] for row in rows[:2]] == ["tench", "goldfish"]
    assert "4 classes" in capsys.readouterr().out
    arguments[2] = "no"
    with pytest.raises(SystemExit, match="Image folder no does not exist"):
        runpy.run_path(script, run_name="__main__")
