"""End to end through train_net.py: train, resume, evaluate, one's own data, in one process and two."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from train_runs import QUICKSTART, ROOT, SMALL_DATA, TINY, lines, own_flags, start

pytestmark = pytest.mark.usefixtures("datasets_folder")


def test_training_leaves_what_the_readme_promises(detector):
    names = {path.name for path in detector.iterdir()}
    assert {"config.yaml", "metrics.json", "model_final.pth", "last_checkpoint", "log.txt"} <= names
    assert {"losses.png", "ap.png", "coco_instances_results.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (detector / "pictures" / "overview.png").stat().st_size > 1000
    assert (detector / "last_checkpoint").read_text() == "model_final.pth"
    rows = lines(detector)
    assert {row["iteration"] for row in rows} >= {0, 1, 2, 3}
    last = {key: value for row in rows for key, value in row.items()}
    assert {"bbox/AP", "bbox/AP50", "segm/AP50", "total_loss", "loss_mask", "lr"} <= set(last)
    log = (detector / "log.txt").read_text()
    assert re.search("This run uses the (real|embedded) Detectron2", log)


def test_resuming_goes_on_where_it_stopped(detector, tmp_path):
    before = torch.load(detector / "model_final.pth", weights_only=True)["iteration"]
    start(detector, "--resume", "train.max_iter=6", "train.eval_period=0")
    assert before == 3
    assert torch.load(detector / "model_final.pth", weights_only=True)["iteration"] == 5
    assert [row["iteration"] for row in lines(detector) if "total_loss" in row][-2:] == [4, 5]


def test_eval_only_repeats_the_evaluation(detector, tmp_path, capsys):
    from mvit_det.engine import load_config
    from mvit_det.engine.train import evaluate

    cfg = load_config(str(detector / "config.yaml"))
    cfg.train.init_checkpoint = str(detector / "model_0000003.pth")
    cfg.train.output_dir = str(tmp_path)
    results = evaluate(cfg)
    # the evaluation behind the last iteration is logged under the next number
    logged = next(row for row in lines(detector) if "bbox/AP" in row and row["iteration"] == 4)
    for task in ("bbox", "segm"):
        assert results[task]["AP"] == pytest.approx(logged[f"{task}/AP"], abs=1e-9)


def test_one_command_trains_a_released_config_on_ones_own_data(own_files, tmp_path):
    start(
        "--config-file",
        str(ROOT / "configs" / "mask_rcnn_mvitv2_t_3x.py"),
        *own_flags(own_files),
        *TINY,
        "train.init_checkpoint=",
        "train.device=cpu",
        "train.max_iter=2",
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
        f"train.output_dir={tmp_path}",
        "dataloader.train.mapper.augmentations.1.short_edge_length=[96]",
        "dataloader.test.mapper.augmentations.0.short_edge_length=96",
    )
    from mvit_det.engine import load_config

    cfg = load_config(str(tmp_path / "config.yaml"))
    assert cfg.model.roi_heads.num_classes == 5
    assert cfg.dataloader.train.dataset.name == "custom_train"
    # two images per step instead of 64: the rate falls with the square root
    assert cfg.optimizer.lr == pytest.approx(1.6e-4 * (2 / 64) ** 0.5, rel=1e-3)
    results = json.loads((tmp_path / "coco_instances_results.json").read_text())
    ids = {r["category_id"] for r in results}
    assert ids and ids <= set(range(1, 6))


def script(*arguments: str, launcher=(), **environment) -> subprocess.CompletedProcess:
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT), **environment)
    command = [sys.executable, *launcher, str(ROOT / "train_net.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)


def test_on_the_command_line_a_fault_is_one_line_and_exit_code_1():
    done = script("--config-file", QUICKSTART, "train.max_itr=2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: Override 'train.max_itr'")


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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_killed_goes_on_with_the_very_losses(workers, tmp_path):
    def arguments(output):
        changes = dict(max_iter=10, eval_period=4, log_period=1, output_dir=output)
        return [
            "--config-file",
            QUICKSTART,
            *TINY,
            *SMALL_DATA,
            *(f"train.{key}={value}" for key, value in changes.items()),
            "train.checkpointer.period=3",
            "model.backbone.bottom_up.drop_path_rate=0.3",
            f"dataloader.train.num_workers={workers}",
        ]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert script(*arguments(whole)).returncode == 0
    command = [sys.executable, str(ROOT / "train_net.py"), *arguments(killed)]
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(command, env=env, **silent)
    while not (killed / "metrics.json").exists() or len(losses(killed)) < 8:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert (killed / "last_checkpoint").read_text() in ("model_0000005.pth", "model_0000008.pth")
    done = script("--resume", *arguments(killed))
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(killed) == losses(whole) and len(losses(whole)) == 10
    a, b = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"]
        for folder in (whole, killed)
    )
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def one_object_each(own_files) -> Path:
    """The annotations of one's own training images, cut down to one object per image."""
    coco = json.loads((own_files / "train" / "annotations.json").read_text())
    firsts = {a["image_id"]: a for a in reversed(coco["annotations"])}
    coco["annotations"] = list(firsts.values())
    path = own_files / "single.json"
    path.write_text(json.dumps(coco))
    return path


def test_two_processes_learn_and_find_what_one_does(own_files, one_object_each, tmp_path):
    """Nothing is sampled, and every image has as many proposals and objects as any other.

    Then the mean of the processes' losses is the loss of the joint batch. In general it is not:
    Detectron2's losses are means over the proposals of a process.
    """
    flags = own_flags(own_files)
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
        done = script("--num-gpus", str(processes), *common, f"train.output_dir={folder}")
        assert done.returncode == 0, done.stderr[-2000:]
    alone, together = losses(folders[1]), losses(folders[2])
    assert alone.keys() == together.keys() == {0, 1, 2}
    for iteration, expected in alone.items():
        assert together[iteration] == pytest.approx(expected, rel=1e-4)
    assert alone[0] != alone[2]

    weights = [
        "train.init_checkpoint=" + str(folders[1] / "model_final.pth"),
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
    ]
    found = {}
    for processes in (1, 2):
        folder = tmp_path / f"evaluated{processes}"
        done = script(
            "--num-gpus",
            str(processes),
            *common[:2],
            "--eval-only",
            *common[2:],
            *weights,
            f"train.output_dir={folder}",
        )
        assert done.returncode == 0, done.stderr[-2000:]
        numbers = re.findall(r"copypaste: (.*)", (folder / "log.txt").read_text())
        found[processes] = numbers, (folder / "coco_instances_results.json").read_bytes()
    assert found[1] == found[2] and len(json.loads(found[1][1])) > 100
