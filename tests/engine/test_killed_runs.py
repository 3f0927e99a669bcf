"""Runs in real processes that are killed, stopped or interrupted; every step is compared."""

import os
import random
import re
import signal
import time

import pytest
from traced_runs import Run, alive, whole_runs  # noqa: F401  a fixture

pytestmark = pytest.mark.slow


def gone(pids: set[int], seconds: float) -> bool:
    """Whether all of these processes end in time."""
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


def kill_at_random(run: Run, victims: list[str], kills: int) -> None:
    """Start a run and kill it so many times, a random number of steps after each start."""
    seed = random.randrange(10**6)
    print("seed", seed)
    draw = random.Random(seed)
    for _ in range(kills):
        process = run.start()
        if run.wait_for(draw.randint(1, 5), process):
            victim = draw.choice(victims)
            if victim == "all":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(run.pid(victim), signal.SIGKILL)
        process.join(60)
        assert process.exitcode is not None, "the others do not end"
        run.assert_intact()


@pytest.mark.parametrize("workers", [0, 2])
def test_row_01_runs_killed_at_random_equal_a_whole_one(workers, whole_runs, tmp_path):  # noqa: F811
    run = Run(tmp_path, workers=workers)
    kill_at_random(run, ["all"], kills=4)
    run.finish().assert_equal(whole_runs(1))


@pytest.mark.parametrize("victims", [["all"], ["0", "1"]])
def test_row_02_two_processes_killed_at_random_equal_a_whole_run(victims, whole_runs, tmp_path):  # noqa: F811
    run = Run(tmp_path, processes=2, workers=1)
    kill_at_random(run, victims, kills=3)
    run.finish().assert_equal(whole_runs(2))


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Run:
    """A run of 6 iterations that was extended to 12, so that its last files are written twice."""
    run = Run(tmp_path_factory.mktemp("extended"), max_iter=6).finish()
    run.max_iter = 12
    return run.finish()


def killed_while_writing(name: str, moment: str, count: int, folder) -> Run:
    run = Run(folder, max_iter=6).finish()
    run.max_iter = 12
    process = run.start(die=(name, moment, count), pause=0.0)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    run.assert_intact()
    return run


MOMENTS = ["half", "before", "after"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_row_03_a_run_killed_while_a_checkpoint_is_written(moment, extended, tmp_path):
    run = killed_while_writing("model_0000008.pth", moment, 1, tmp_path)
    before = "model_final.pth"  # of the 6 iterations
    assert (tmp_path / "run" / "last_checkpoint").read_text() == before
    run.finish().assert_equal(extended)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name, count", [("model_final.pth", 1), ("model_best.pth", 2)])
def test_row_04_a_run_killed_while_a_file_is_rewritten(name, count, moment, extended, tmp_path):
    killed_while_writing(name, moment, count, tmp_path).finish().assert_equal(extended)


@pytest.mark.parametrize("moment", MOMENTS[1:])
def test_row_04_a_run_killed_while_the_pointer_is_rewritten(moment, extended, tmp_path):
    killed_while_writing("last_checkpoint", moment, 2, tmp_path).finish().assert_equal(extended)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("target", ["process", "group"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_row_12_a_signal_saves_the_iteration(
    name,
    target,
    processes,
    workers,
    whole_runs,  # noqa: F811
    tmp_path,
):
    run, number = Run(tmp_path, processes, workers), getattr(signal, name)
    process = run.start()
    assert run.wait_for(4, process)
    started = time.monotonic()
    (os.killpg if target == "group" else os.kill)(process.pid, number)
    process.join(60)
    assert time.monotonic() - started < 10 and process.exitcode == 128 + number
    last = max(run.steps(0))
    where = f"(after iteration {last}|immediately)"  # the latter in an evaluation
    assert len(re.findall(f"error: Stopped by {name} {where}", run.errors())) == 1
    assert "Traceback" not in run.errors() and gone(run.pids(), 10)
    assert (tmp_path / "run" / "last_checkpoint").read_text() == f"model_{last:07d}.pth"
    run.finish().assert_equal(whole_runs(processes))
    done = (tmp_path / "steps.0").read_text().splitlines()
    assert len(done) == run.max_iter  # no iteration was repeated


ENDS = {
    ("loading", signal.SIGKILL): "A worker of the data loader was ended from outside",
    ("1", signal.SIGKILL): "Process 1 of 2 on this machine was ended by SIGKILL",
    ("0", signal.SIGKILL): "Process 0 of 2 on this machine was ended by SIGKILL",
    ("loading", signal.SIGSTOP): "A worker of the data loader gave no batch for 20 seconds",
    ("1", signal.SIGSTOP): "Process 1 of 2 (pid {pid} on ",
    ("0", signal.SIGSTOP): "Process 0 of 2 (pid {pid} on ",
}


def ended(victim: str, number: signal.Signals, folder, seconds: float) -> Run:
    """Send a signal to one of 2 processes with 2 workers each; all must end in that time."""
    run = Run(folder, processes=2, workers=2, max_iter=10000, timeout=20.0)
    process = run.start()
    assert run.wait_for(5, process)
    started, pid = time.monotonic(), run.pid(victim)
    os.kill(pid, number)
    process.join(2 * seconds)
    assert process.exitcode == 1 and gone(run.pids(), started + seconds - time.monotonic())
    errors = run.errors()
    assert ENDS[victim, number].format(pid=pid) in errors, errors
    # of a thread of Python's in a worker whose process has gone
    assert errors.count("Traceback") == errors.count("resource_sharer.py"), errors
    return run


@pytest.mark.parametrize("victim", ["loading", "0", "1"])
def test_row_36_all_processes_end_after_one_is_killed(victim, tmp_path):
    ended(victim, signal.SIGKILL, tmp_path, seconds=30)


@pytest.mark.parametrize("victim", ["loading", "0", "1"])
def test_row_37_all_processes_end_after_one_is_stopped(victim, tmp_path):
    ended(victim, signal.SIGSTOP, tmp_path, seconds=20 + 10)
