"""Requests to stop a run."""

import os
import signal
import time

import pytest

from mvit_det.engine import stop as module
from mvit_det.engine.stop import Stopped, StopRequest


def ask(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python calls the handler between two steps


def test_a_late_second_signal_ends_the_run(monkeypatch):
    with StopRequest() as stop:
        ask()
        ask()  # the same Ctrl-C, passed on by another
        assert stop.requested == signal.SIGINT
        monkeypatch.setattr(module, "SAME_SIGNAL_SECONDS", 0.0)
        with pytest.raises(Stopped, match="SIGINT immediately") as stopped:
            ask(signal.SIGTERM)
    assert stopped.value.exit_code == 130


def test_an_ending_run_ignores_signals(monkeypatch):
    monkeypatch.setattr(module, "SAME_SIGNAL_SECONDS", 0.0)
    with StopRequest() as stop:
        ask()
        with pytest.raises(Stopped, match="after iteration 4"):
            try:
                stop.end("after iteration 4")
            finally:
                ask(signal.SIGTERM)
