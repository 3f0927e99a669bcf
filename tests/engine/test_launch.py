"""What happens to one process of two, and how the run ends."""

import errno
import os
import re
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import forked
import pytest
import torch
import toy
import toy_processes
from omegaconf.errors import InterpolationResolutionError

from mvit_det.engine import run
from mvit_det.errors import UserError

SCRIPT = Path(__file__).with_name("toy_processes.py")


def start(event: str, folder: Path, *resume: str) -> subprocess.CompletedProcess:
    return forked.run(toy_processes.launch, event, str(folder), *resume, output=folder / "printed")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    done = start("nothing", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize(
    "error, sentence",
    [
        (OSError(errno.ENOSPC, "No space left on device", "run/log.txt"), "No space is left for"),
        (
            OSError(errno.EACCES, "Permission denied", "run"),
            "run cannot be used (Permission denied)",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "lower dataloader",
        ),
        (InterpolationResolutionError("no size[0]\n  key"), "cannot be resolved (no size[0])"),
        (UserError("Correct 3."), "Correct 3."),
    ],
)
def test_a_fault_that_the_user_can_fix_is_one_line(error, sentence, capsys):
    def main(args):
        raise error

    alone = Namespace(num_gpus=1, num_machines=1, machine_rank=0, dist_url="auto")
    with pytest.raises(SystemExit) as end:
        run(main, alone)
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and sentence in line


def test_a_fault_of_the_program_keeps_its_traceback():
    def main(args):
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        run(main, Namespace(num_gpus=1, num_machines=1, machine_rank=0, dist_url="auto"))


@pytest.mark.parametrize(
    "given, sentence",
    [
        (dict(num_gpus=0), "--num-gpus 0 must be 1 or more (for a CPU: train.device=cpu)"),
        (dict(num_gpus=-2, num_machines=-1), "--num-gpus -2 must be 1 or more"),
        (dict(num_machines=0), "--num-machines 0 must be 1 or more"),
        (dict(num_machines=2, machine_rank=2), "--machine-rank 2 must be from 0 to 1"),
        (dict(num_machines=2, dist_url="auto"), "--dist-url auto is for one machine"),
    ],
)
def test_a_number_of_processes_that_cannot_be(given, sentence, capsys):
    """Without the check, nothing is trained and the exit code is 0."""
    args = dict(num_gpus=1, num_machines=1, machine_rank=0, dist_url="tcp://127.0.0.1:1") | given
    with pytest.raises(SystemExit) as end:
        run(lambda args: None, Namespace(**args))
    assert end.value.code == 1 and sentence in capsys.readouterr().err


def listen() -> None:
    """Start two processes at a port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        run(print, Namespace(num_gpus=2, num_machines=1, machine_rank=0, dist_url=url))


def test_a_port_in_use_is_one_line(tmp_path):
    """That of Detectron2's default depends on the user alone, so it is the same for two runs."""
    done = forked.run(listen, output=tmp_path / "printed")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert re.search(r"error: The port of --dist-url tcp:.* is in use.*auto", done.stderr)


@pytest.mark.slow
def test_spawned_processes_train_as_forked_ones(whole, tmp_path):
    """Those of a command line are spawned: the only test here that starts real ones."""
    path = os.pathsep.join(map(str, [SCRIPT.parent, *sys.path]))
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=path)
    command = [sys.executable, str(SCRIPT), "nothing", str(tmp_path)]
    assert subprocess.run(command, env=environment, timeout=300).returncode == 0
    assert toy.logged(tmp_path) == toy.logged(whole)
    assert toy.equal(toy.weights(whole), toy.weights(tmp_path))


def test_row_36_the_run_of_a_killed_process_ends_with_its_reason_and_resumes_exactly(
    whole, tmp_path
):
    started = time.monotonic()
    done = start("die", tmp_path)
    assert time.monotonic() - started < 60 and done.returncode == 1
    assert "error: Process 1 of 2 on this machine was ended by SIGKILL" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth"

    assert start("nothing", tmp_path, "resume").returncode == 0
    assert toy.logged(tmp_path) == toy.logged(whole)
    assert toy.equal(toy.weights(whole), toy.weights(tmp_path))


def test_row_37_a_stopped_process_is_named(tmp_path):
    started = time.monotonic()
    done = start("stop", tmp_path)
    assert time.monotonic() - started < 60 and done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if "error:" in line)
    assert "Process 1 of 2 (pid " in line and "has been stopped by a signal" in line
    assert "Traceback" not in done.stdout + done.stderr


def test_a_fault_in_one_process_is_one_line(tmp_path):
    done = start("fail", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("error: The value 42 is wrong: correct it.") == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_row_12_an_interrupt_of_the_launcher_alone_ends_all_with_a_checkpoint(whole, tmp_path):
    done = start("interrupt", tmp_path)
    assert done.returncode == 130
    assert done.stderr.count("error: Stopped by SIGINT after iteration 4") == 1
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"
    assert start("nothing", tmp_path, "resume").returncode == 0
    assert toy.equal(toy.weights(whole), toy.weights(tmp_path))


def test_gradients_are_exchanged_in_half_precision_if_configured(whole, tmp_path):
    assert start("compress", tmp_path).returncode == 0
    a, b = toy.weights(whole), toy.weights(tmp_path)
    weight = "layers.0.weight"
    assert not torch.equal(a[weight], b[weight])
    torch.testing.assert_close(a[weight], b[weight], rtol=0.01, atol=0.005)


def test_two_processes_average_their_common_weights(whole, tmp_path):
    assert start("average", tmp_path).returncode == 0
    b = toy.weights(tmp_path)
    assert toy.equal(toy.weights(whole), b)
    average = toy.weights(tmp_path, "averaged_final")
    assert average.keys() == b.keys()  # without the wrapper's prefix
    state = torch.load(tmp_path / "model_0000008.pth", weights_only=True)["trainer"]["hooks"]
    before = state["AveragedWeights"]["module.layers.0.weight"]
    after = b["layers.0.weight"]  # one step later
    torch.testing.assert_close(average["layers.0.weight"], 0.5 * before + 0.5 * after)
