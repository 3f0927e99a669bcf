"""Custom classes of images or videos in one command: data, schedule, and faults."""

import json
import runpy
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from detectron2.config import instantiate
from image_sets import jpeg, write_folders, write_tar

from mvit_det.data.custom.files import CustomFiles
from mvit_det.engine import load_config as read_config
from mvit_det.errors import UserError
from mvit_det.tasks import task_of

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
import train_net  # noqa: E402  the script, as a module

CONFIG = str(ROOT / "configs" / "imagenet" / "mvitv2_t_in1k.py")
VIDEO_CONFIG = str(ROOT / "configs" / "kinetics" / "mvitv2_s_16x4_k400.py")
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


@cache
def cached_config(path):
    return read_config(path)


def load_config(path):
    return deepcopy(cached_config(path))


@pytest.fixture
def folders(tmp_path):
    """Write training and validation images of the same three classes."""
    write_folders(tmp_path / "train")
    write_folders(tmp_path / "val", {"cat/v.jpg": jpeg(1), "eel/v.jpg": jpeg(2), "dog/v.jpg": b""})
    return tmp_path


def use_images(cfg, train, val, **options):
    train = train and str(train)
    files = CustomFiles(train_images=train, val_images=val and str(val))
    return task_of(cfg).use_custom_data(cfg, files, **options)


def test_data_classes_and_schedule_are_set(folders, monkeypatch):
    monkeypatch.chdir(folders)
    cfg = load_config(CONFIG)
    released = cfg.optimizer.lr
    use_images(cfg, "train", "val", processes=2)
    assert cfg.model.num_classes == cfg.dataloader.train.collate.num_classes == 3
    assert cfg.dataloader.train.mapper.exif_transpose and cfg.dataloader.test.mapper.exif_transpose
    train = instantiate(cfg.dataloader.train.dataset)
    assert len(train) == 6 and cfg.dataloader.train.dataset.root == str(folders / "train")
    assert instantiate(cfg.dataloader.test.dataset).classes == train.classes
    assert (
        cfg.dataloader.evaluator[0].dataset_name == cfg.dataloader.test.dataset.name == "custom_val"
    )
    assert cfg.dataloader.train.total_batch_size == 64  # 32 per process
    assert cfg.optimizer.lr == pytest.approx(released * (64 / 2048) ** 0.5, rel=1e-3)
    assert cfg.train.max_iter == 500 and cfg.train.eval_period == 50


def test_epochs_over_larger_data(tmp_path, monkeypatch):
    monkeypatch.setattr("mvit_det.data.custom.schedule.MIN_ITERATIONS", 1)
    names = [f"{kind}/{i}.jpg" for kind in ("a", "b") for i in range(50)]
    root = write_folders(tmp_path / "many", dict.fromkeys(names, b""))
    scratch, tuned = load_config(CONFIG), load_config(CONFIG)
    tuned.train.init_checkpoint = "x.pth"
    assert use_images(scratch, root, root).train.max_iter == 100 * 100 // 32
    assert use_images(tuned, root, root, processes=1).train.max_iter == 30 * 100 // 32


def test_validation_with_fewer_classes_has_the_labels_of_training(folders):
    val = write_folders(folders / "less", {"eel/v.jpg": b""})
    cfg = use_images(load_config(CONFIG), folders / "train", val)
    assert instantiate(cfg.dataloader.test.dataset).labels.tolist() == [2]


def test_validation_images_are_enough_for_evaluation(folders):
    cfg = use_images(load_config(CONFIG), None, folders / "val")
    assert cfg.model.num_classes == 3 and "same_classes_as" not in cfg.dataloader.test.dataset
    assert cfg.dataloader.train.dataset.root == "imagenet/train"


def test_a_config_that_is_evaluated_on_a_subset_of_its_classes(folders):
    cfg = load_config(str(ROOT / "configs" / "imagenet" / "mvitv2_s_in21k.py"))
    use_images(cfg, folders / "train", folders / "val")
    assert cfg.dataloader.evaluator[0].classes is None
    assert len(instantiate(cfg.dataloader.test.dataset).classes) == 3
    assert len(instantiate(cfg.dataloader.train.dataset)) == 6


@pytest.mark.parametrize(
    "train, val, sentence",
    [
        ("train", None, "^--val-images is missing"),
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
def test_faulty_folders(folders, train, val, sentence):
    write_folders(folders / "other", {"cat/a.jpg": b"", "fox/a.jpg": b""})
    write_folders(folders / "single", {"cat/a.jpg": b""})
    with pytest.raises(UserError, match=sentence):
        use_images(load_config(CONFIG), folders / train, val and folders / val)


@pytest.mark.parametrize(
    "config, flags, sentence",
    [
        (
            CONFIG,
            ["train_json", "train_images", "val_json", "val_images"],
            "^--train-json and --val-json cannot .* of images, .* takes --train-images and --val-i",
        ),
        (
            CONFIG,
            ["train_videos", "val_videos"],
            "^--train-videos and --val-videos cannot .* of imag",
        ),
        (
            VIDEO_CONFIG,
            ["train_images", "val_videos"],
            "^--train-images cannot .* of videos, which",
        ),
        (
            VIDEO_CONFIG,
            ["val_json"],
            "^--val-json cannot .* takes --train-videos and --val-videos.",
        ),
        (
            str(ROOT / "configs" / "quickstart.py"),
            ["train_videos"],
            "^--train-videos cannot .* detector, .* takes --train-json and --train-images and",
        ),
    ],
)
def test_flags_of_another_task(config, flags, sentence):
    with pytest.raises(UserError, match=sentence):
        cfg = load_config(config)
        task_of(cfg).use_custom_data(cfg, CustomFiles(**dict.fromkeys(flags, "x")))


def test_a_detector_needs_annotations(folders):
    with pytest.raises(UserError, match="--train-json is missing"):
        use_images(load_config(str(ROOT / "configs" / "quickstart.py")), folders / "train", "x")


def test_one_command_trains_and_evaluates(folders):
    output = folders / "output"
    flags = ["--train-images", str(folders / "train"), "--val-images", str(folders / "val")]
    arguments = ["--config-file", CONFIG, *flags, *TINY, f"train.output_dir={output}"]
    with pytest.raises(UserError, match=r"is incomplete \(unreadable images: 1\)"):
        train_net.main(train_net.argument_parser().parse_args(arguments))
    saved = read_config(str(output / "config.yaml"))
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


# ---- videos


@pytest.fixture
def videos(tmp_path):
    """Write empty training and validation videos of the same two classes."""
    names = {"train": ["left/a.mp4", "left/b.mp4", "right/c.mp4"], "val": ["right/d.mp4"]}
    return write_folders(tmp_path, {f"{k}/{v}": b"" for k in names for v in names[k]})


def use_videos(config, train, val, **options):
    cfg = load_config(config)
    files = CustomFiles(train_videos=train, val_videos=val)
    return task_of(cfg).use_custom_data(cfg, files, **options)


def test_videos_set_data_classes_and_schedule(videos, monkeypatch):
    monkeypatch.chdir(videos)
    cfg = use_videos(VIDEO_CONFIG, "train", "val", processes=2)
    released = load_config(VIDEO_CONFIG)
    train, test = cfg.dataloader.train, cfg.dataloader.test
    assert cfg.model.num_classes == train.collate.num_classes == 2
    assert train.dataset.source == str(videos / "train")
    assert train.repeats == 2 and train.total_batch_size == 2 * 4  # eight clips per process
    batch = released.dataloader.train.total_batch_size
    assert cfg.optimizer.lr == pytest.approx(released.optimizer.lr * (8 / batch) ** 0.5, rel=1e-3)
    assert cfg.train.max_iter == 500
    assert len(instantiate(train.dataset)) == 3
    # the number of views per video is that of the config
    assert test.dataset.clips == released.dataloader.test.dataset.clips
    views = instantiate(test.dataset)
    assert len(views) == test.dataset.clips and views[0]["label"] == 1
    assert cfg.dataloader.evaluator[0].dataset_name == "custom_val"
    assert [entry["name"] for entry in task_of(cfg).data_categories(cfg)] == ["left", "right"]


def test_lists_of_videos(videos):
    (videos / "train.csv").write_text("train/left/a.mp4 0\ntrain/right/c.mp4 2\n")
    (videos / "val.csv").write_text("val/right/d.mp4 1\n")
    cfg = use_videos(VIDEO_CONFIG, str(videos / "train.csv"), str(videos / "val.csv"))
    assert cfg.model.num_classes == 3
    assert instantiate(cfg.dataloader.train.dataset).labels.tolist() == [0, 2]
    found = instantiate(cfg.dataloader.test.dataset)
    assert found.labels.tolist() == [1] and found.classes == ["0", "1", "2"]
    cfg.dataloader.train.dataset.update(classes=["x", "y", "z"], fps=12)
    assert instantiate(cfg.dataloader.train.dataset).class_names == ["x", "y", "z"]


def test_learning_rate_of_sgd_is_linear_in_the_batch_size(videos):
    config = str(ROOT / "configs" / "ssv2" / "mvitv2_s_16x4_ssv2.py")
    released = load_config(config)
    cfg = use_videos(config, str(videos / "train"), str(videos / "val"))
    share = 8 / released.dataloader.train.total_batch_size
    assert cfg.dataloader.train.total_batch_size == 8
    assert cfg.optimizer.lr == pytest.approx(released.optimizer.lr * share, rel=1e-3)


def test_faulty_videos(videos):
    write_folders(videos / "other", {"up/a.mp4": b""})
    with pytest.raises(UserError, match="^--val-videos is missing"):
        use_videos(VIDEO_CONFIG, str(videos / "train"), None)
    with pytest.raises(
        UserError, match=r"other has the classes up, which .* not have \(left, right"
    ):
        use_videos(VIDEO_CONFIG, str(videos / "train"), str(videos / "other"))
    with pytest.raises(UserError, match="other has the single class 'up'"):
        use_videos(VIDEO_CONFIG, str(videos / "other"), str(videos / "other"))
    (videos / "one.csv").write_text("train/left/a.mp4 0\n")
    with pytest.raises(UserError, match="one.csv has the single class '0': .* two or more.$"):
        use_videos(VIDEO_CONFIG, str(videos / "one.csv"), str(videos / "one.csv"))


def test_a_list_of_videos_in_another_folder(videos):
    """The folder is set afterwards, by an override of ``root``."""
    (videos / "lists").mkdir()
    path = videos / "lists" / "train.csv"
    path.write_text("left/a.mp4 0\nright/c.mp4 1\n")
    cfg = use_videos(VIDEO_CONFIG, str(path), str(path))
    with pytest.raises(UserError, match="not one of the 2 videos .* give their folder as root"):
        instantiate(cfg.dataloader.train.dataset)
    cfg.dataloader.train.dataset.root = str(videos / "train")
    assert len(instantiate(cfg.dataloader.train.dataset)) == 2
