"""What other systems lack is taken away: neither Windows nor macOS is there to test on."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mvit_det
from mvit_det import config_names
from mvit_det.data import loader

PROGRAM = Path(__file__).with_name("without_posix.py")


@pytest.mark.slow
def test_without_the_posix_modules_all_is_imported_trained_and_predicted(tmp_path):
    """And every text file of this project is opened with an encoding."""
    environment = {
        **os.environ,
        "DETECTRON2_DATASETS": str(tmp_path / "data"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MVIT_DET_HOST": mvit_det.host(),
    }
    command = [sys.executable, "-X", "warn_default_encoding", str(PROGRAM), mvit_det.host()]
    done = subprocess.run(
        [*command, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    modules, configs = (
        int(re.search(rf"^(\d+) {word}", done.stdout, re.M)[1]) for word in ("modules", "configs")
    )
    assert modules > 200 and configs == len(config_names.list_configs())
    assert re.search(r"^\S+run is in use by process \d+ on .*: wait until", done.stdout, re.M)
    assert "locked twice" not in done.stdout
    assert {"config.yaml", "model_final.pth"} <= set(os.listdir(tmp_path / "run"))
    assert len(list((tmp_path / "found").glob("*.jpg"))) == 1


def test_workers_outlive_a_ctrl_c_that_a_console_of_windows_sends_to_all(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "platform", "win32")
    try:
        loader._leave_process_group(0)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_configs_are_found_where_git_has_written_the_link_to_them_as_a_file(tmp_path):
    package, configs = tmp_path / "mvit_det", tmp_path / "configs"
    package.mkdir(), configs.mkdir()
    (package / "_configs").write_text("../configs")
    (configs / "one.py").touch()
    copy = package / "config_names.py"
    copy.write_bytes(Path(config_names.__file__).read_bytes())
    spec = importlib.util.spec_from_file_location("copied_config_names", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.list_configs() == ["one"]
