"""Run a function in a new process, forked from one that has already imported the package.

An import takes seconds, a fork milliseconds. The server of `multiprocessing` from which all are
forked is a fresh interpreter, so what tests have registered, logged or set does not reach them.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["forked", "mvit_det.train", "torch.utils.tensorboard"])


def start(
    function: Callable, *arguments, output: Path, new_session: bool = False, **environment: str
) -> multiprocessing.Process:
    """Start ``function(*arguments)``; what it prints goes to ``output``.out and ``output``.err."""
    variables = {**os.environ, **environment}
    arguments = function, arguments, str(output), new_session, variables
    process = SERVER.Process(target=_body, args=arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # for the server, when it starts
        process.start()
    return process


def run(function: Callable, *arguments, output: Path, **environment: str):
    """Run it to its end, as `subprocess.run` does with captured text; at most four minutes."""
    paths = [Path(f"{output}.{kind}") for kind in ("out", "err")]
    for path in paths:  # pipes, since a test may limit the size of files
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    with ThreadPoolExecutor() as pool:
        texts = [pool.submit(path.read_text) for path in paths]
        process = start(function, *arguments, output=output, new_session=True, **environment)
        process.join(240)
        ended = process.exitcode is not None
        if not ended:  # nor do its children, which would keep the pipes open
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        texts = [text.result() for text in texts]
    assert ended, f"{function.__name__} does not end:\n{texts[1]}"
    return subprocess.CompletedProcess(function, process.exitcode, *texts)


def _body(function: Callable, arguments, output: str, new_session: bool, environment) -> None:
    if new_session:
        os.setsid()
    for descriptor, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{output}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # for workers of loaders, as elsewhere
    module = sys.modules["torch.multiprocessing.spawn"]
    start_processes = module.start_processes

    def fork_processes(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
        return start_processes(_rank, (fn, *args), nprocs, join, daemon, "fork")

    module.start_processes = torch.multiprocessing.start_processes = fork_processes
    _reset_signals()
    try:
        function(*arguments)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    finally:
        sys.stdout.flush()


def _rank(rank: int, function: Callable, *arguments) -> None:
    """Run one process of several, which must not inherit the signal handlers of its launcher."""
    _reset_signals()
    function(rank, *arguments)


def _reset_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
