"""Exported models of videos: the script of the folder gives what `mvit_det.predict` gives."""

import json
import subprocess
import sys

import pytest
from conftest import export
from people_scenes import finished_action_run, predict

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from toy_programs import embedded_host  # noqa: E402

pytestmark = [embedded_host, pytest.mark.slow]


def test_script_of_actions(tmp_path) -> None:
    run = finished_action_run(tmp_path)
    folder = tmp_path / "exported"
    description = export(run.config, folder).description
    assert description["parity"]["scores"] < 1e-4
    words = ["--boxes", str(run.boxes), "--score-threshold", "0.1", str(run.videos / "a.avi")]
    code = "import sys, runpy; sys.modules.update(torch=None, mvit_det=None); "
    code += f"sys.argv = {['run.py', '--output', str(tmp_path / 'script'), *words]!r}; "
    code += f"runpy.run_path({str(folder / 'run.py')!r}, run_name='__main__')"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert predict(run, tmp_path / "model", *words) == 0
    assert predict(run, tmp_path / "folder", *words, "--weights", str(folder)) == 0
    rows = {
        name: json.loads((tmp_path / name / "predictions.json").read_text())
        for name in ("script", "model", "folder")
    }
    assert len(rows["model"]) == 6
    for name in ("script", "folder"):
        for found, expected in zip(rows[name], rows["model"], strict=True):
            assert found["image_id"] == expected["image_id"]
            assert found["bbox"] == pytest.approx(expected["bbox"])
            names = [[c["name"] for c in row["classes"]] for row in (found, expected)]
            assert names[0] == names[1]
            scores = [[c["score"] for c in row["classes"]] for row in (found, expected)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-4)
