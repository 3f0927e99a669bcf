"""A small AVA config end to end: train on custom actions, resume, evaluate, faults."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from train_runs import ROOT, logged, start, stopped_at, words
from video_files import write_video  # noqa: E402

import train_net  # noqa: E402  the script, as a module
from mvit_det.data.custom.files import CustomFiles
from mvit_det.engine import load_config, run
from mvit_det.errors import UserError
from mvit_det.tasks import task_of

CONFIG = str(ROOT / "configs" / "ava" / "mvitv2_s_16x4_k400_ava.py")
KINETICS = str(ROOT / "configs" / "kinetics" / "mvitv2_s_16x4_k400.py")
TINY = [
    "model.backbone.input_size=[4,32,32]",
    "model.backbone.embed_dim=8",
    "model.backbone.last_block_indexes=[0,1,2,3]",
    "dataloader.train.mapper.transform.short_side=[34,40]",
    "dataloader.train.total_batch_size=2",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
    "dataloader.test.batch_size=3",
    "train.init_checkpoint=",
    "train.device=cpu",
    "train.seed=1",
    "train.max_iter=2",
    "train.eval_period=2",
    "train.log_period=1",
]
LEFT, RIGHT = "0.05,0.1,0.45,0.9", "0.55,0.1,0.95,0.9"
NAMES = {1: "brighten", 3: "darken"}  # 2 is annotated, but not evaluated


def blinking(rng: np.random.Generator) -> np.ndarray:
    """A video (40, 36, 48, 3) whose left gets brighter while its right gets darker."""
    frames = np.empty((40, 36, 48, 3))
    frames[:, :, :24] = np.linspace(40, 200, 40)[:, None, None, None]
    frames[:, :, 24:] = np.linspace(200, 40, 40)[:, None, None, None]
    return (frames + rng.integers(-20, 20, frames.shape)).astype(np.uint8)


def rows(*videos: str) -> str:
    """Two seconds of each video: on the left action 1, and once 2 as well; on the right 3."""
    lines = [
        line
        for name in videos
        for line in (
            f"{name},1,{LEFT},1,0",
            f"{name},1,{LEFT},2,0",
            f"{name},1,{RIGHT},3,1",
            f"{name},2.5,{LEFT},1,0",
        )
    ]
    return "\n".join(["video,second,x1,y1,x2,y2,action,person", *lines, ""])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """{train,val}/NAME.mp4, {train,val}.csv, a label map, and boxes that a detector found."""
    root, rng = tmp_path_factory.mktemp("actions"), np.random.default_rng(0)
    for split, names in (("train", ("a", "b")), ("val", ("c",))):
        (root / split).mkdir()
        for name in names:
            write_video(root / split / f"{name}.mp4", blinking(rng), fps=10)
        (root / f"{split}.csv").write_text(rows(*names))
    (root / "names.txt").write_text("".join(f"{k}: {name}\n" for k, name in NAMES.items()))
    found = [f"c,1,{LEFT},,0.9", "c,1,0.5,0.5,0.6,0.6,-1,0.85", f"c,1,{RIGHT},,0.5"]
    (root / "found.csv").write_text("\n".join(found) + "\n")
    return root


def refused(capsys, *arguments: str | Path) -> str:
    """The sentence that the command ends in, in place of a traceback."""
    with pytest.raises(SystemExit) as ended:
        run(train_net.main, train_net.argument_parser().parse_args(words(*arguments)))
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert printed.count("\nerror: ") == 1
    return printed.split("\nerror: ")[1].removesuffix("\n")


def flags(data: Path, *splits: str) -> list[str]:
    files = [
        argument
        for split in splits
        for kind, ending in (("videos", ""), ("actions", ".csv"))
        for argument in (f"--{split}-{kind}", str(data / f"{split}{ending}"))
    ]
    return [*files, "--label-map", str(data / "names.txt")]


def custom_run(data: Path, output: Path) -> list[str]:
    both = flags(data, "train", "val")
    return ["--config-file", CONFIG, *both, *TINY, f"train.output_dir={output}"]


def detections(output: Path) -> str:
    return (output / "action_detections.csv").read_text()


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("run")
    start(*custom_run(data, output))
    return output


def test_one_command_trains_and_evaluates(trained):
    saved = load_config(str(trained / "config.yaml"))
    assert saved.model.num_classes == 3
    assert [(entry["id"], entry["name"]) for entry in saved.categories] == list(NAMES.items())
    numbers = logged(trained)
    assert all(numbers[iteration]["total_loss"] > 0 for iteration in (0, 1))
    assert 0 <= numbers[2]["actions/mAP50"] <= 100
    assert all(0 <= numbers[2][f"actions/AP-{name}"] <= 100 for name in ("brighten", "darken"))
    # three annotated boxes in two seconds, with a row for each action that is evaluated
    assert len([row for row in detections(trained).splitlines() if row.count(",") > 1]) == 6


def test_a_resumed_run_equals_a_whole_one(data, trained, tmp_path, monkeypatch):
    """Stopped before its last iteration, the run continues as without the stop."""
    arguments = [*custom_run(data, tmp_path), "train.checkpointer.period=1", "train.eval_period=0"]
    stopped_at(1, *arguments)
    assert "total_loss" not in logged(tmp_path).get(1, {})
    # the saved config is enough, in any folder
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    start("--resume", "--config-file", str(tmp_path / "config.yaml"))
    assert logged(tmp_path)[1]["total_loss"] == logged(trained)[1]["total_loss"]
    whole, resumed = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"]
        for folder in (trained, tmp_path)
    )
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_evaluation_repeats(data, trained, tmp_path, monkeypatch):
    weights = f"train.init_checkpoint={trained / 'model_final.pth'}"
    arguments = ["--eval-only", "--config-file", CONFIG, *flags(data, "val"), *TINY]
    start(*arguments, weights, f"train.output_dir={tmp_path / 'flags'}")
    assert detections(tmp_path / "flags") == detections(trained)
    monkeypatch.chdir(tmp_path)
    start("--eval-only", trained, weights, "train.output_dir=yaml")
    assert detections(tmp_path / "yaml") == detections(trained)


def test_detected_boxes_replace_annotated_ones(data, trained, tmp_path):
    start(
        "--eval-only",
        *("--config-file", CONFIG, *flags(data, "val"), "--val-proposals", str(data / "found.csv")),
        *(*TINY, f"train.init_checkpoint={trained / 'model_final.pth'}"),
        f"train.output_dir={tmp_path}",
    )
    places = {row.rsplit(",", 2)[0] for row in detections(tmp_path).splitlines()}
    assert len([place for place in places if place.count(",") > 1]) == 2


def test_without_a_label_map_all_actions_are_evaluated_and_overrides_win(data, tmp_path):
    given = custom_run(data, tmp_path)
    at = given.index("--label-map")
    given = [*given[:at], *given[at + 2 :], "optimizer.lr=0.25"]
    cfg, _ = train_net.setup(train_net.argument_parser().parse_args(given))
    assert [entry["id"] for entry in cfg.categories] == [1, 2, 3] and cfg.model.num_classes == 3
    assert cfg.optimizer.lr == 0.25 and cfg.dataloader.train.total_batch_size == 2


def test_overrides_are_applied_before_the_data_are_read(data, tmp_path, capsys):
    """Such as the second at which files begin, which the message asks to set."""
    given = custom_run(data, tmp_path / "run")
    for split in ("train", "val"):
        text = re.sub(r"(?<=,)(1|2.5)(?=,0.[05]5)", r"90\1", (data / f"{split}.csv").read_text())
        (tmp_path / f"{split}.csv").write_text(text)
        given[given.index(f"--{split}-actions") + 1] = str(tmp_path / f"{split}.csv")
    assert "set start=900" in refused(capsys, *given)
    given += [f"dataloader.{split}.dataset.start=900" for split in ("train", "test")]
    cfg, _ = train_net.setup(train_net.argument_parser().parse_args(given))
    items = instantiate(cfg.dataloader.test.dataset)
    assert [(item["second"], item["time"]) for item in items] == [(901, 1), (902.5, 2.5)]


def test_the_schedule_fits_the_data(data):
    cfg = load_config(CONFIG)
    files = {f"{split}_videos": str(data / split) for split in ("train", "val")}
    files |= {f"{split}_actions": str(data / f"{split}.csv") for split in ("train", "val")}
    task_of(cfg).use_custom_data(cfg, CustomFiles(**files), processes=2)
    # 8 clips of each process; the rate falls as the batch; 4 seconds are few, 500 steps the least
    assert cfg.dataloader.train.total_batch_size == 16
    assert cfg.optimizer.lr == pytest.approx(0.6 * 16 / 512) and cfg.train.max_iter == 500


def test_a_second_at_the_end_and_an_action_without_boxes(data, trained, tmp_path, caplog):
    """The last frame is at 3.9 s; no box has the action "darken"."""
    given = custom_run(data, tmp_path)
    changed = tmp_path / "val.csv"
    rows = [f"c,{second},{LEFT},1,0\n" for second in (0, 3.8, 3.9)]
    changed.write_text("".join(rows) + "c,3.9,0.5,0.9,0.5,0.2,3,0\n")
    given[given.index("--val-actions") + 1] = str(changed)
    start("--eval-only", *given, f"train.init_checkpoint={trained / 'model_final.pth'}")
    assert "line 4" in caplog.text and "without area" in caplog.text
    rows = detections(tmp_path).splitlines()
    assert [row.split(",")[1] for row in rows] == ["0000", "0000", "3.8", "3.8", "3.9", "3.9"]
    assert "nan" in caplog.text


# fault -> text to change, its replacement, the message
BAD_ROWS = {
    "a broken number": ("a,1,0.05", "a,1,o.o5", "train.csv, line 2, .* has x1='o.o5'"),
    "pixels": (LEFT, "20,30,120,240", "train.csv, line 2, .* pixels"),
    "a missing column": (f"a,1,{RIGHT},3,1", f"a,1,{RIGHT}", "train.csv, line 4, .* has 6 column"),
    "an unknown video": ("\nb,", "\nd,", "lacks 1 of the 2 videos .*d"),
    "an unknown action": (
        f"a,1,{RIGHT},3,",
        f"a,1,{RIGHT},4,",
        "line 4, has action=4.* actions 1 to 3",
    ),
    "an action id 0": (f"{RIGHT},3,", f"{RIGHT},0,", "train.csv, line 4, .*action=0"),
    "seconds after the end": (",2.5,", ",250,", "4.0 seconds long, .*key frame at second 250"),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_fault_in_a_file_ends_before_the_first_iteration(fault, split, data, tmp_path, capsys):
    old, new, message = BAD_ROWS[fault]
    if split == "val":
        message = message.replace("train.csv", "val.csv").replace("the 2 videos", "the 1 videos")
        old, new = (text.replace("a,1", "c,1").replace("\nb,", "\nc,") for text in (old, new))
    text = (data / f"{split}.csv").read_text()
    assert old in text
    changed = tmp_path / f"{split}.csv"
    changed.write_text(text.replace(old, new))
    given = custom_run(data, tmp_path / "run")
    given[given.index(f"--{split}-actions") + 1] = str(changed)
    error = refused(capsys, *given)
    assert re.search(message, error) and "\n" not in error, error
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_an_action_that_training_lacks(data, tmp_path, capsys):
    changed = tmp_path / "train.csv"
    changed.write_text((data / "train.csv").read_text().replace(f"{RIGHT},3,", f"{RIGHT},1,"))
    given = custom_run(data, tmp_path / "run")
    given[given.index("--train-actions") + 1] = str(changed)
    error = refused(capsys, *given)
    assert re.search(r"val.csv, line 4, .*train.csv does not have \(3 \(darken\)\)", error), error
    # the same if keys of a config name the data
    cfg, _ = train_net.setup(train_net.argument_parser().parse_args(custom_run(data, tmp_path)))
    cfg.dataloader.train.dataset.actions = str(changed)
    with pytest.raises(UserError, match=r"val.csv, line 4, .* \(3 \(darken\)\)"):
        task_of(cfg).check_test_data(cfg, None)
    cfg.dataloader.test.dataset.label_map = str(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("1: brighten\n")
    task_of(cfg).check_test_data(cfg, None)


TRAIN = ["--train-videos", "v", "--train-actions", "a.csv"]
VAL = ["--val-videos", "v", "--val-actions", "a.csv"]


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (CONFIG, TRAIN, "--val-videos and --val-actions is missing"),
        (
            CONFIG,
            [*TRAIN[:2], *VAL],
            "^--train-actions is missing: .* --train-videos and --train-actions",
        ),
        (CONFIG, [*TRAIN, *VAL[2:]], "^--val-videos is missing: .*those to train on again"),
        (
            CONFIG,
            ["--train-proposals", "p.csv", *VAL],
            "--train-videos and --train-actions is missing",
        ),
        (CONFIG, ["--label-map", "names.txt"], "--val-videos and --val-actions is missing"),
        (CONFIG, [*VAL, "--train-images", "i"], "--train-images cannot be used here: .*of actions"),
        (KINETICS, [*TRAIN, "--val-videos", "v"], "--train-actions cannot be used here"),
        (KINETICS, ["--val-videos", "v", "--label-map", "m"], "--label-map cannot be used here"),
        (CONFIG, VAL, "file of actions .*a.csv does not exist"),
        (CONFIG, [*VAL, "--label-map", ""], "--label-map is empty"),
    ],
)
def test_flags_that_do_not_go_together(config, given, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    error = refused(capsys, "--config-file", config, *given, "train.output_dir=run")
    assert re.search(message, error) and "\n" not in error, error
    assert not (tmp_path / "run").exists()


def test_an_output_that_is_not_a_folder(data, trained, capsys):
    error = refused(capsys, trained, f"train.output_dir={data / 'val.csv'}")
    assert re.search("train.output_dir=.*val.csv cannot be used as a folder", error), error
    assert "train.output_dir is empty" in refused(capsys, trained, "train.output_dir=")


def test_a_config_whose_data_are_absent(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    error = refused(capsys, "--config-file", CONFIG, *TINY, f"train.output_dir={tmp_path / 'run'}")
    assert re.search("ava_train_v2.2.csv does not exist .*READ", error), error
