"""End to end through train_net.py: train, resume, evaluate, custom data, one process and two."""

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import torch
from train_runs import (
    QUICKSTART,
    ROOT,
    SMALL_DATA,
    TINY,
    command,
    custom_flags,
    lines,
    start,
    stopped_at,
)

from mvit_det.detection import GeneralizedRCNN
from mvit_det.engine import load_config
from mvit_det.engine.train import evaluate
from mvit_det.errors import UserError
from mvit_det.kernels.cpu import has_fast_bfloat16

# tests then run the model only
WITHOUT_METRICS = ["dataloader.evaluator=[]", "train.best_metric="]
pytestmark = pytest.mark.usefixtures("datasets_folder")


def test_training_writes_the_files_that_the_readme_names(detector):
    names = {path.name for path in detector.iterdir()}
    (events,) = (name for name in names if name.startswith("events.out.tfevents"))
    assert names - {events, ".lock"} == {
        *("config.yaml", "log.txt", "metrics.json", "losses.png", "ap.png", "pictures"),
        *("coco_instances_results.json", "error_analysis.json", "last_checkpoint"),
        *(f"model_{name}.pth" for name in ("0000001", "0000003", "best", "final")),
    }
    assert (detector / "pictures" / "overview.png").stat().st_size > 1000
    assert (detector / "last_checkpoint").read_text() == "model_final.pth"
    rows = lines(detector)
    assert {row["iteration"] for row in rows} == {0, 1, 2, 3, 4}
    last = {key: value for row in rows for key, value in row.items()}
    for key in ("bbox/AP", "bbox/AP50", "segm/AP50", "total_loss", "loss_mask", "lr"):
        assert math.isfinite(last[key]), key
    log = (detector / "log.txt").read_text()
    assert re.search("This run uses the (real|embedded) Detectron2", log)


def test_a_resumed_run_continues_after_its_last_iteration(detector):
    before = torch.load(detector / "model_final.pth", weights_only=True)["iteration"]
    start(detector, "--resume", "train.max_iter=6", "train.eval_period=0")
    assert before == 3
    assert torch.load(detector / "model_final.pth", weights_only=True)["iteration"] == 5
    assert [row["iteration"] for row in lines(detector) if "total_loss" in row][-2:] == [4, 5]


def test_eval_only_repeats_the_evaluation(detector, tmp_path):
    cfg = load_config(str(detector / "config.yaml"))
    cfg.train.init_checkpoint = str(detector / "model_0000003.pth")
    cfg.train.output_dir = str(tmp_path)
    results = evaluate(cfg)
    # the evaluation after the last iteration is logged under the next number
    logged = next(row for row in lines(detector) if "bbox/AP" in row and row["iteration"] == 4)
    for task in ("bbox", "segm"):
        assert results[task]["AP"] == pytest.approx(logged[f"{task}/AP"], abs=1e-9)


def test_one_command_trains_a_released_config_on_custom_data(custom_files, tmp_path):
    start(
        "--config-file",
        str(ROOT / "configs" / "mask_rcnn_mvitv2_t_3x.py"),
        *custom_flags(custom_files),
        *TINY,
        "train.init_checkpoint=",
        "train.device=cpu",
        "train.max_iter=2",
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
        f"train.output_dir={tmp_path}",
        "dataloader.train.mapper.augmentations.1.short_edge_length=[96]",
        "dataloader.test.mapper.augmentations.0.short_edge_length=96",
    )
    cfg = load_config(str(tmp_path / "config.yaml"))
    assert cfg.model.roi_heads.num_classes == 5
    assert cfg.dataloader.train.dataset.name == "custom_train"
    # two images per step instead of 64: the rate falls with the square root
    assert cfg.optimizer.lr == pytest.approx(1.6e-4 * (2 / 64) ** 0.5, rel=1e-3)
    results = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert results and all(r["category_id"] in range(1, 6) for r in results)


def script(*arguments: str, launcher=()) -> subprocess.CompletedProcess:
    """Start the script itself, as a user does."""
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    command = [sys.executable, *launcher, str(ROOT / "train_net.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_row_34_on_the_command_line_a_fault_is_one_line_and_exit_code_1():
    done = script("--config-file", QUICKSTART, "train.max_itr=2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: Override 'train.max_itr'")


# config -> images or videos of training and validation
SEEDED = {
    "quickstart_cascade": (8, 4),
    "quickstart_classification": (12, 6),
    "quickstart_video": (10, 10),
    "quickstart_actions": (2, 1),
}


def check_repeats(config: str, overrides: list[str], folder: Path) -> None:
    """Train twice with one seed, without workers and with two: everything is bitwise equal."""
    found = []
    for workers in (0, 2):
        output = folder / str(workers)
        start(
            *("--config-file", config, *overrides, "dataloader.train.total_batch_size=2"),
            *(f"dataloader.train.num_workers={workers}", "dataloader.test.num_workers=0"),
            *("train.seed=11", "train.max_iter=4", "train.eval_period=0", "train.log_period=1"),
            *(*WITHOUT_METRICS, "train.device=cpu", f"train.output_dir={output}"),
        )
        found.append((losses(output), torch.load(output / "model_final.pth", weights_only=True)))
    (losses0, state0), (losses2, state2) = found
    assert losses0 == losses2 and len(losses0) == 4
    weights0, weights2 = state0["model"], state2["model"]
    assert weights0.keys() == weights2.keys()
    assert all(torch.equal(weights0[key], weights2[key]) for key in weights0)


def test_row_13_the_same_seed_twice(tmp_path):
    check_repeats("quickstart", [*TINY, *SMALL_DATA], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("config", SEEDED)
def test_row_13_the_same_seed_twice_for_other_tasks(config, tmp_path):
    sizes = [
        f"dataloader.{loader}.dataset.{name}={count}"
        for loader in ("train", "test")
        for name, count in zip(("num_train", "num_val"), SEEDED[config])
    ]
    check_repeats(config, sizes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("amp", ["float16", "bfloat16"])
def test_row_38_two_processes_with_mixed_precision_on_a_cpu(amp, tmp_path):
    done = forked.run(
        command,
        *("--num-gpus", "2", "--dist-url", "auto"),
        *("--config-file", QUICKSTART, *TINY, *SMALL_DATA, *WITHOUT_METRICS),
        *("train.max_iter=2", "train.eval_period=0", "train.log_period=1"),
        *("train.amp.enabled=true", f"train.amp.dtype={amp}"),
        *("train.device=cpu", f"train.output_dir={tmp_path / 'run'}"),
        output=tmp_path / "printed",
        CUDA_VISIBLE_DEVICES="",
    )
    assert done.returncode == 0 and len(losses(tmp_path / "run")) == 2, done.stderr[-2000:]
    log = (tmp_path / "run" / "log.txt").read_text()
    assert ("training in float32 on cpu" in log) == (amp == "float16" or not has_fast_bfloat16())


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_row_38_a_gpu_that_is_not_there(tmp_path):
    arguments = ["--config-file", QUICKSTART, "train.device=cuda", f"train.output_dir={tmp_path}"]
    words = ["--num-gpus", "2", "--dist-url", "auto", *arguments]
    done = forked.run(command, *words, output=tmp_path / "printed")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (line,) = {line for line in done.stderr.splitlines() if line.startswith("error: ")}
    assert "train.device=cuda cannot be used here" in line


@pytest.mark.slow
def test_torchrun_trains_and_evaluates(tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = script(
        *("--config-file", QUICKSTART, *TINY, *SMALL_DATA, f"train.output_dir={tmp_path}"),
        *("train.max_iter=2", "train.eval_period=2", "train.log_period=1"),
        launcher=torchrun,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "coco_instances_results.json").exists()
    assert (tmp_path / "log.txt.rank1").exists()
    final = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert final["iteration"] == 1


def losses(output: Path) -> dict[int, dict[str, float]]:
    """iteration -> losses; after a resume the later of two lines counts."""
    return {
        row["iteration"]: {key: row[key] for key in sorted(row) if "loss" in key}
        for row in lines(output)
        if "total_loss" in row
    }


def test_row_01_a_killed_run_with_workers_continues_with_the_losses_of_a_whole_one_without(
    tmp_path,
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    changes = dict(max_iter=10, eval_period=4, log_period=1)
    common = [
        *("--config-file", QUICKSTART, *TINY, *SMALL_DATA),
        *(f"train.{key}={value}" for key, value in changes.items()),
        "train.checkpointer.period=3",
        "model.backbone.bottom_up.drop_path_rate=0.3",
        *WITHOUT_METRICS,
    ]
    start(*common, f"train.output_dir={whole}")
    arguments = [*common, "dataloader.train.num_workers=2", f"train.output_dir={killed}"]
    process = forked.start(command, *arguments, output=tmp_path / "printed")
    while not (killed / "metrics.json").exists() or len(losses(killed)) < 8:
        assert process.is_alive(), "it ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.join()
    assert (killed / "last_checkpoint").read_text() in ("model_0000005.pth", "model_0000008.pth")
    start("--resume", *arguments)
    assert losses(killed) == losses(whole) and len(losses(whole)) == 10
    a, b = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"]
        for folder in (whole, killed)
    )
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.skipif(not has_fast_bfloat16(), reason="this CPU does not multiply bfloat16")
def test_a_killed_run_in_bfloat16_continues_bit_for_bit(tmp_path):
    common = [
        *("--config-file", QUICKSTART, *TINY, *SMALL_DATA, *WITHOUT_METRICS),
        *("train.amp.enabled=true", "train.amp.dtype=bfloat16", "train.device=cpu"),
        *("train.max_iter=6", "train.checkpointer.period=2", "train.eval_period=0"),
        *("train.log_period=1", "model.backbone.bottom_up.drop_path_rate=0.3"),
    ]
    whole, killed = (f"train.output_dir={tmp_path / name}" for name in ("whole", "killed"))
    start(*common, whole)
    stopped_at(5, *common, killed)
    assert (tmp_path / "killed/last_checkpoint").read_text() == "model_0000003.pth"
    start("--resume", *common, killed)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert "in float32" not in (tmp_path / "whole/log.txt").read_text()
    a, b = (
        torch.load(tmp_path / name / "model_final.pth", weights_only=True)
        for name in ("whole", "killed")
    )
    assert all(torch.equal(a["model"][key], value) for key, value in b["model"].items())
    assert {value.dtype for value in b["model"].values()} == {torch.float32}
    moments = [run["trainer"]["optimizer"]["state"] for run in (a, b)]
    assert all(
        torch.equal(value, moments[1][number][name])
        for number, state in moments[0].items()
        for name, value in state.items()
    )


def test_evaluations_have_a_precision_of_their_own(detector, tmp_path, monkeypatch):
    """Which is not that of the training; the flag works with a config from before the key."""
    seen, forward = set(), GeneralizedRCNN.forward

    def spy(self, batch):
        seen.add((self.training, torch.is_autocast_enabled("cpu")))
        return forward(self, batch)

    monkeypatch.setattr(GeneralizedRCNN, "forward", spy)
    arguments = ["--config-file", QUICKSTART, *TINY, *SMALL_DATA, "train.device=cpu"]
    words = ["train.max_iter=1", "train.eval_precision=bf16", f"train.output_dir={tmp_path / 'a'}"]
    start(*arguments, *words)
    assert seen == {(True, False), (False, True)}
    text = (detector / "config.yaml").read_text()
    older = re.sub(r"\n *eval_precision: fp32", "", text)
    assert older != text
    (tmp_path / "config.yaml").write_text(older)
    for word, autocast in (("bf16", True), ("fp32", False)):
        seen.clear()
        weights = str(detector / "model_0000003.pth")
        output = f"train.output_dir={tmp_path / word}"
        start(tmp_path, "--eval-only", "--weights", weights, "--precision", word, output)
        assert seen == {(False, autocast)}
    with pytest.raises(UserError, match="--precision is for --eval-only: train in lower"):
        start(detector, "--precision", "bf16", f"train.output_dir={tmp_path / 'b'}")


def launch(processes: int, *arguments: str) -> None:
    """Run train_net.py in this process, or in two new ones."""
    if processes == 1:
        return start(*arguments)
    output = Path(arguments[-1].removeprefix("train.output_dir="))
    words = ["--num-gpus", str(processes), "--dist-url", "auto", *arguments]
    done = forked.run(command, *words, output=output.with_suffix(".printed"))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def one_object_each(custom_files) -> Path:
    """The annotations of custom training images, with the first object of each image only."""
    coco = json.loads((custom_files / "train" / "annotations.json").read_text())
    firsts = {a["image_id"]: a for a in reversed(coco["annotations"])}
    coco["annotations"] = list(firsts.values())
    path = custom_files / "single.json"
    path.write_text(json.dumps(coco))
    return path


def test_two_processes_learn_and_detect_the_same_as_one(custom_files, one_object_each, tmp_path):
    """Nothing is sampled, and every image has as many proposals and objects as any other.

    Then the mean of the processes' losses is the loss of the joint batch. In general it is not:
    Detectron2's losses are means over the proposals of a process.
    """
    flags = custom_flags(custom_files)
    flags[1] = flags[5] = str(one_object_each)
    flags[7] = flags[3]
    common = [
        "--config-file",
        QUICKSTART,
        *flags,
        *TINY,
        "train.init_checkpoint=",
        "train.max_iter=3",
        "train.eval_period=0",
        "train.log_period=1",
        "model.backbone.bottom_up.drop_path_rate=0",
        "model.proposal_generator.batch_size_per_image=100000",
        "model.proposal_generator.post_nms_topk=[30,30]",
        "model.roi_heads.batch_size_per_image=1000",
        "model.roi_heads.proposal_matcher.thresholds=[0.99]",
        "optimizer.lr=1e-3",
        "dataloader.train.mapper.augmentations.0.short_edge_length=96",
        "dataloader.test.mapper.augmentations.0.short_edge_length=96",
    ]
    folders = {}
    for processes in (1, 2):
        folders[processes] = folder = tmp_path / str(processes)
        launch(processes, *common, *WITHOUT_METRICS, f"train.output_dir={folder}")
    alone, together = losses(folders[1]), losses(folders[2])
    assert alone.keys() == together.keys() == {0, 1, 2}
    for iteration, expected in alone.items():
        assert together[iteration] == pytest.approx(expected, rel=1e-4)
    assert alone[0] != alone[2]

    weights = [
        "train.init_checkpoint=" + str(folders[1] / "model_final.pth"),
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
    ]
    results = {}
    for processes in (1, 2):
        folder = tmp_path / f"evaluated{processes}"
        launch(processes, "--eval-only", *common, *weights, f"train.output_dir={folder}")
        numbers = re.findall(r"copypaste: (.*)", (folder / "log.txt").read_text())
        results[processes] = numbers, (folder / "coco_instances_results.json").read_bytes()
    assert results[1] == results[2] and len(json.loads(results[1][1])) > 100
