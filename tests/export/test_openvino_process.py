"""OpenVINO beside data loaders: nothing that it leaves behind stops the process."""

import signal
import subprocess
import sys

import pytest

openvino = pytest.importorskip("openvino", reason="openvino is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="this system has no such signal"),
]

CODE = """
import signal, subprocess, sys
from pathlib import Path
from mvit_det.exported.runtime import open_runtime

first, second = (open_runtime(Path(sys.argv[1]), "openvino", {"y": {}}) for _ in range(2))
del first
del second
signal.signal(signal.SIGCHLD, lambda *_: None)
subprocess.run(["true"], check=True)
print("alive")
"""


def test_models_that_are_closed_in_any_order_leave_signals_intact(tmp_path):
    from openvino import opset13

    x = opset13.parameter([1, 4], openvino.Type.f32)
    y = opset13.abs(x)
    y.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([opset13.result(y)], [x], "tiny"), tmp_path / "model.xml")
    words = [sys.executable, "-c", CODE, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
