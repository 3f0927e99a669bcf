"""A tiny trained detector, and shapes as custom data."""

from pathlib import Path

import pytest
from train_runs import QUICKSTART, SMALL_DATA, TINY, start

from mvit_det.data.synthetic.shapes import generate_shapes


@pytest.fixture(scope="module", autouse=True)
def no_plots(quick_pictures):
    """Apply `quick_pictures` to all tests of this folder."""


@pytest.fixture(scope="module")
def detector(datasets_folder, tmp_path_factory) -> Path:
    """The output folder of four tiny iterations with an evaluation every two."""
    output = tmp_path_factory.mktemp("run")
    start(
        "--config-file",
        QUICKSTART,
        *TINY,
        *SMALL_DATA,
        f"train.output_dir={output}",
        "train.max_iter=4",
        "train.eval_period=2",
        "train.checkpointer.period=2",
        "train.log_period=1",
    )
    return output


@pytest.fixture(scope="module")
def custom_files(tmp_path_factory) -> Path:
    """Shapes as custom data: {train,val}/annotations.json and images, with three classes."""
    folder = tmp_path_factory.mktemp("custom")
    for name, count in (("train", 6), ("val", 3)):
        generate_shapes(folder / name, count, seed=count, image_size=96, object_size=(20, 50))
    return folder
