"""Fixtures: a small COCO data set on disk for tests to damage, and a datasets folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


class ToySet:
    """Twelve pictures of 64 x 48 with two objects each; `write` stores the changed JSON."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "images"
        self.json_file = folder / "toy.json"
        self.root.mkdir()
        self.coco = dict(
            images=[
                dict(id=i, file_name=f"{i:03d}.png", width=64, height=48) for i in range(1, 13)
            ],
            categories=[dict(id=7, name="fig"), dict(id=3, name="date")],
            annotations=[],
        )
        self.annotations = self.coco["annotations"]
        rng = np.random.default_rng(0)
        for image in self.coco["images"]:
            pixels = rng.integers(0, 255, size=(48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.root / image["file_name"])
            for category, x in ((3, 4), (7, 30)):
                self.annotations.append(
                    dict(
                        id=len(self.annotations) + 1,
                        image_id=image["id"],
                        category_id=category,
                        bbox=[x, 10, 20, 16],
                        segmentation=[[x, 10, x + 20, 10, x + 20, 26, x, 26]],
                        area=320,
                        iscrowd=0,
                    )
                )

    def write(self) -> str:
        self.json_file.write_text(json.dumps(self.coco))
        return str(self.json_file)

    def arguments(self) -> tuple[str, str]:
        return self.write(), str(self.root)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    return ToySet(tmp_path)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Return the datasets folder, where generated data sets are stored."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path
