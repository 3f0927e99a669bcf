"""Shared by all tests: chooses the host before anything imports detectron2."""

import os

# More threads would slow down small models. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

import mvit_det  # noqa: E402, F401  makes `import detectron2` work: must come before it


@pytest.fixture(scope="module")
def datasets_folder(tmp_path_factory):
    """Where this module's generated data sets go."""
    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def quick_pictures():
    """Write plots as empty files and other pictures uncompressed: half of the time of small runs.

    For modules of tests whose subject is not the pictures.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    save = Image.Image.save

    def save_uncompressed(self, path, *arguments, **options):
        if str(path).endswith(".png"):
            options["compress_level"] = 0
        save(self, path, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, path, **_: Path(path).touch())
        patch.setattr(Image.Image, "save", save_uncompressed)
        yield


def pytest_terminal_summary(terminalreporter):
    """Print what tests have recorded as "figures": counts, sizes, times."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for _, figures in (pair for pair in report.user_properties if pair[0] == "figures"):
                terminalreporter.write_line(f"{report.nodeid}: {figures}")
