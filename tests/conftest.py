"""Shared by all tests: chooses the host before anything imports detectron2."""

import os

# Small models on many short tests: more threads cost more than they bring. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402

import mvit_det  # noqa: E402, F401  makes `import detectron2` work: must come before it


@pytest.fixture(scope="module")
def datasets_folder(tmp_path_factory):
    """Where this module's generated data sets go."""
    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(folder))
        yield folder
