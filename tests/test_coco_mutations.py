"""Annotation and result files with values of the wrong kind: they work, or end in one sentence."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from coco_mutations import mutated, sound
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from mvit_det.data import TolerantMapper
from mvit_det.data.detection.coco import coco_dataset
from mvit_det.errors import UserError
from mvit_det.evaluation.__main__ import _detections


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Yield a function that trains on, and evaluates, the files of a seed, up to the model."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    truth, results = tmp_path / "truth.json", tmp_path / "results.json"
    for image in sound()[0]["images"]:
        Image.new("RGB", (64, 48)).save(tmp_path / image["file_name"])
    mapper = TolerantMapper(
        True,
        augmentations=[],
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
    )

    def load():
        for split, more in (("train", {}), ("val", dict(filter_empty=False))):
            dicts = coco_dataset(f"fuzz_{split}", truth, tmp_path, max_bad_share=0.8, **more)
        for item in dicts:
            sample = mapper(item)
            if sample is not None:
                assert np.isfinite(sample["instances"].gt_boxes.tensor.numpy()).all()

    def evaluate():
        args = SimpleNamespace(ground_truth=truth, results=results, max_detections=None)
        numbers = _detections(args, None)
        assert not any(math.isinf(task["AP50"]) for task in numbers.values())

    def run(seed):
        """Return how training and evaluation took the files: True, or a sentence."""
        for path, content in zip((truth, results), mutated(seed)):
            path.write_bytes(content)
        outcome = []
        for step in (load, evaluate):
            try:
                step()
                outcome.append(True)
            except UserError as error:
                text = str(error)
                text.encode()  # it can be printed
                assert "\n" not in text, text
                assert text.endswith("."), text
                outcome.append(text)
        return outcome

    yield run
    for name in ("fuzz_train", "fuzz_val"):
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog.list():
                catalog.remove(name)


def check(use, seeds):
    accepted = 0
    for seed in seeds:
        try:
            accepted += all(step is True for step in use(seed))
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    assert 0.1 <= accepted / len(seeds) < 0.5  # neither none nor all


def test_a_wrong_value_works_or_is_one_sentence(use):
    check(use, range(150))


@pytest.mark.release
def test_many_wrong_values_work_or_are_one_sentence(use):
    check(use, range(1000, 6000))
