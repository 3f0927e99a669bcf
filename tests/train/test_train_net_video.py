"""Small video configs end to end: train on custom videos, evaluate, lists."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from train_runs import ROOT, logged, start
from video_files import write_video  # noqa: E402

from mvit_det.engine import load_config
from mvit_det.errors import UserError

KINETICS = str(ROOT / "configs" / "kinetics" / "mvitv2_s_16x4_k400.py")
SSV2 = str(ROOT / "configs" / "ssv2" / "mvitv2_s_16x4_ssv2.py")
CLASSES = ["down", "up"]
TINY = [
    "model.backbone.input_size=[4,32,32]",
    "model.backbone.embed_dim=8",
    "model.backbone.last_block_indexes=[0,1,2,3]",
    "dataloader.train.total_batch_size=2",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
    "dataloader.test.dataset.clips=2",
    "dataloader.test.mapper.transform.short_side=40",
    "train.device=cpu",
    "train.seed=1",
    "train.max_iter=2",
    "train.eval_period=2",
    "train.log_period=1",
]


def brightening(rng: np.random.Generator, up: bool) -> np.ndarray:
    """A noisy video (20, 40, 48, 3) that gets brighter, or darker."""
    levels = np.linspace(40, 200, 20)[:: 1 if up else -1]
    noise = rng.integers(-20, 20, (20, 40, 48, 3))
    return (levels[:, None, None, None] + noise).astype(np.uint8)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """{train,val}/CLASS/NUMBER.mp4, one of them damaged, and a folder of frames."""
    root, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                frames = brightening(rng, name == "up")
                write_video(root / split / name / f"{number}.mp4", frames, fps=10)
    (root / "val" / "up" / "damaged.mp4").write_bytes(b"no video")
    folder = root / "train" / "up" / "frames"
    folder.mkdir()
    for number, frame in enumerate(brightening(rng, True)):
        Image.fromarray(frame).save(folder / f"img_{number + 1:05}.jpg")
    return root


def custom_run(videos: Path, output: Path) -> list[str]:
    flags = ["--train-videos", str(videos / "train"), "--val-videos", str(videos / "val")]
    return ["--config-file", KINETICS, *flags, *TINY, f"train.output_dir={output}"]


@pytest.fixture(scope="module")
def trained(videos, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("run")
    with pytest.raises(UserError, match=r"at iteration 2 is incomplete \(unreadable videos: 1; "):
        start(*custom_run(videos, output))
    return output


def test_one_command_trains_and_evaluates(trained):
    saved = load_config(str(trained / "config.yaml"))
    assert [entry["name"] for entry in saved.categories] == CLASSES
    assert saved.model.num_classes == 2 and saved.dataloader.train.repeats == 2
    rows = logged(trained)
    assert all("total_loss" in rows[iteration] for iteration in (0, 1))
    assert 0 <= rows[2]["classification/top1"] <= 100
    assert rows[2]["unreadable/videos"] == 1
    scores = np.load(trained / "video_scores.npz")
    assert {len(array) for array in scores.values() if array.ndim > 1} == {4}


def test_evaluation_repeats(videos, trained, tmp_path):
    weights = f"train.init_checkpoint={trained / 'model_final.pth'}"
    arguments = custom_run(videos, tmp_path)
    flags = [arguments[0], arguments[1], *arguments[4:]]  # the folder for testing is enough
    dump = tmp_path / "result.pkl"
    start("--eval-only", "--dump", str(dump), *flags, weights)
    first, again = (np.load(folder / "video_scores.npz") for folder in (trained, tmp_path))
    assert set(first) == set(again)
    for key in set(first):
        assert np.array_equal(first[key], again[key])
    samples = pickle.loads(dump.read_bytes())
    assert {sample["filename"] for sample in samples} == set(first["file_name"])
    rows = np.stack([sample["pred_score"].numpy() for sample in samples])
    assert np.array_equal(np.sort(rows, axis=0), np.sort(first["scores"], axis=0))


def test_lists(videos, trained, tmp_path, caplog):
    """PySlowFast's lists, in a config for Something-Something-v2, started from other weights."""
    rows = {
        "train": [
            "train/down/0.mp4 0",
            "train/up/1.mp4 1",
            "train/up/frames 1",
            "train/gone.mp4 0",
        ],
        "val": ["val/up/0.mp4 1", "val/down/1.mp4 0"],
    }
    nodes = {"train": "dataloader.train.dataset", "val": "dataloader.test.dataset"}
    settings = []
    for split, lines in rows.items():
        (tmp_path / f"{split}.csv").write_text("".join(f"{line}\n" for line in lines))
        settings.append(f"{nodes[split]}.source={tmp_path / split}.csv")
        settings.append(f"{nodes[split]}.root={videos}")
        settings.append(f"{nodes[split]}.classes=[falling,rising]")
    settings.append(f"train.init_checkpoint={trained / 'model_final.pth'}")
    settings += ["model.num_classes=2", f"train.output_dir={tmp_path / 'run'}"]
    start("--config-file", SSV2, *TINY, "dataloader.test.dataset.clips=1", *settings)
    assert "1 of 4 videos are not in" in caplog.text and "train/gone.mp4" in caplog.text
    saved = load_config(str(tmp_path / "run" / "config.yaml"))
    assert [entry["name"] for entry in saved.categories] == ["falling", "rising"]
    assert "classification/top1" in logged(tmp_path / "run")[2]


def test_a_config_whose_data_are_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(
        UserError, match="list of videos kinetics400/train.csv does not exist .*READ"
    ):
        start("--config-file", KINETICS, *TINY, f"train.output_dir={tmp_path / 'run'}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config-file", KINETICS, "--dump", "x.pkl"], "--dump is for --eval-only: add it"),
        (["--config-file", "quickstart", "--eval-only", "--dump", "x.pkl"], "is of a detector"),
        (
            [
                "--config-file",
                KINETICS,
                "--eval-only",
                "--dump=x.pkl",
                "dataloader.evaluator.0.dump=y",
            ],
            "--dump x.pkl and .*=y contradict each other",
        ),
    ],
)
def test_a_dump_that_cannot_be_made(flags, message, tmp_path):
    with pytest.raises(UserError, match=message):
        start(*flags, f"train.output_dir={tmp_path / 'run'}")


def test_a_flag_without_a_path(tmp_path):
    flags = ("--train-videos", "", "--val-videos", "")
    with pytest.raises(
        UserError, match="--train-videos is empty: give a path, or leave the flag out"
    ):
        start("--config-file", KINETICS, *flags, f"train.output_dir={tmp_path / 'run'}")
