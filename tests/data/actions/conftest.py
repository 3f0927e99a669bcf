"""Two videos, and a datasets folder of the test."""

import pytest
from action_files import write_clips


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two videos of 4 seconds."""
    return write_clips(tmp_path_factory.mktemp("set") / "videos", ["a", "b"])


@pytest.fixture(autouse=True)
def datasets_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
