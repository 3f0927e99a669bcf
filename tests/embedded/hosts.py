"""Run one script on both hosts, each in a separate process, and return both results."""

import os
import pickle
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

_DRIVER = """
import pickle, sys
import mvit_det
with open(sys.argv[1], "rb") as f:
    script, inputs = pickle.load(f)
scope = dict(inputs, __name__="__main__")
exec(compile(script, "<parity script>", "exec"), scope)
with open(sys.argv[2], "wb") as f:
    pickle.dump(scope["result"], f)
"""


def _run(code: list[str], host: str) -> subprocess.CompletedProcess:
    env = dict(os.environ, MVIT_DET_HOST=host)
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    return subprocess.run([sys.executable, "-c", *code], env=env, capture_output=True, text=True)


@cache
def real_detectron2_available() -> bool:
    """Return whether this interpreter can import the real Detectron2."""
    return _run(["import mvit_det, detectron2"], "real").returncode == 0


def both_hosts(script: str, **inputs: Any) -> tuple[Any, Any]:
    """Run ``script`` with ``inputs`` as its globals on the real and on the embedded host.

    Returns:
        (real, embedded): the value of ``result`` in the script on each host. Inputs and results
        are pickled: use tensors, arrays and plain Python types.
    """
    if not real_detectron2_available():
        pytest.skip("the real Detectron2 is not installed")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.pkl", Path(folder) / "out.pkl"
        source.write_bytes(pickle.dumps((script, inputs)))
        for host in ("real", "embedded"):
            process = _run([_DRIVER, str(source), str(target)], host)
            output = f"{process.stdout}\n{process.stderr}"
            assert process.returncode == 0, f"on the {host} host:\n{output}"
            results.append(pickle.loads(target.read_bytes()))
            target.unlink()
    return results[0], results[1]
