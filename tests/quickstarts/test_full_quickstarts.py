"""The quickstarts as a user runs them, to the results that the guide states: 40 minutes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Below the lowest result of docs/guides/quickstarts.md, since a short training amplifies rounding.
LOWEST = {
    "quickstart": {"bbox/AP": 55, "segm/AP": 51},
    "quickstart_cascade": {"bbox/AP": 82, "segm/AP": 70},
    "quickstart_classification": {"top1": 89},
    "quickstart_pretrained": {"bbox/AP": 70, "segm/AP": 64},
    "quickstart_video": {"top1": 92},
    "quickstart_actions": {"mAP50": 95},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quickstarts")


@pytest.mark.release
@pytest.mark.parametrize("config", LOWEST)
def test_results_are_those_of_the_guide(config, folder):
    command = [sys.executable, "train_net.py", "--config-file", f"configs/{config}.py"]
    command += [f"train.output_dir={folder / config}"]
    if config == "quickstart_pretrained":
        weights = folder / "quickstart_classification" / "model_final.pth"
        assert weights.exists(), "the classification quickstart must run before this one"
        command += [f"train.init_checkpoint={weights}"]
    env = dict(os.environ, DETECTRON2_DATASETS=str(folder / "datasets"))
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = re.findall(r"Done\. (.*)", done.stdout)
    results = {name: float(value) for name, value in re.findall(r"([\w/]+) ([\d.]+)", line)}
    for name, lowest in LOWEST[config].items():
        (value,) = (value for key, value in results.items() if key.endswith(name))
        assert value >= lowest, line
