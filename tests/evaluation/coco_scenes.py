"""Random annotations and detections for the tests of COCO's metrics."""

import contextlib
import io
import json
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HEIGHT, WIDTH = 150, 170


def disc(box: list[float]) -> dict[str, Any]:
    """Return the ellipse in a box (x, y, width, height) as a compressed RLE; it may be empty."""
    x, y, w, h = box
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = ((columns - x - w / 2) / max(w, 1e-9)) ** 2 + ((rows - y - h / 2) / max(h, 1e-9)) ** 2
    rle = coco_mask.encode(np.asfortranarray(inside <= 0.25, dtype=np.uint8))
    return dict(size=list(rle["size"]), counts=rle["counts"].decode())


def random_box(rng: np.random.Generator) -> list[float]:
    """Draw a box, sometimes without area, or with the area that limits small or medium objects."""
    kind = rng.random()
    if kind < 0.1:
        side = float(rng.choice([32, 96]))
        return [float(rng.integers(20)), float(rng.integers(20)), side, side]
    size = np.exp(rng.uniform(np.log(3), np.log(140), 2)).round(int(rng.integers(3)))
    if kind < 0.15:
        size[rng.integers(2)] = 0
    return [*(rng.random(2) * 30).round(1).tolist(), *size.tolist()]


def moved(rng: np.random.Generator, box: list[float]) -> list[float]:
    """Return the same box or a shifted one, rounded, so that IoUs are on thresholds or equal."""
    shift = rng.normal(size=4) * rng.choice([0, 1, 4])
    x, y, w, h = (np.array(box) + shift).round()
    return [float(x), float(y), float(max(w, 0)), float(max(h, 0))]


def scene(
    seed: int, images: int = 6, classes: int = 4, crowds: float = 0.15, masks: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return annotations and results, with the hard cases of the metric.

    Some images have no objects or results, a class has no objects, a class of an image has more
    than 100 detections, and rounded scores are equal.
    """
    rng = np.random.default_rng(seed)
    image_ids = rng.permutation(50)[:images].tolist()
    category_ids = rng.permutation(30)[:classes].tolist()
    annotations, results = [], []
    for number, image_id in enumerate(image_ids):
        if rng.random() < 0.2:
            continue
        truth = [
            (random_box(rng), int(rng.choice(category_ids[:-1]))) for _ in range(rng.integers(9))
        ]
        if rng.random() < 0.15:
            truth = []
        for box, label in truth:
            annotation = dict(id=len(annotations) + 1, image_id=image_id, category_id=label)
            annotation.update(bbox=box, area=box[2] * box[3], iscrowd=int(rng.random() < crowds))
            if masks:
                annotation["segmentation"] = disc(box)
            annotations.append(annotation)
        if rng.random() < 0.15:
            continue
        found = [(moved(rng, b), k) for b, k in truth for _ in range(rng.integers(4))]
        found += [(random_box(rng), int(rng.choice(category_ids))) for _ in range(rng.integers(12))]
        if number == 0 and not masks:
            found += [(random_box(rng), category_ids[0]) for _ in range(130)]
        for index in rng.permutation(len(found)):
            box, label = found[index]
            score = float(rng.random().__round__(1))
            result = dict(image_id=image_id, category_id=label, bbox=box, score=score)
            if masks:
                result["segmentation"] = disc(box)
            results.append(result)
    truth = dict(
        images=[dict(id=i, file_name=f"{i}.png", height=HEIGHT, width=WIDTH) for i in image_ids],
        annotations=annotations,
        categories=[dict(id=i, name=f"kind{i}") for i in category_ids],
    )
    return truth, results


def by_pycocotools(truth: dict, results: list[dict], task: str) -> COCOeval:
    """Return the evaluation by pycocotools, accumulated and summarized."""
    results = json.loads(json.dumps(results))
    if task == "segm":
        for result in results:
            del result["bbox"]  # else small, medium and large would depend on the area of the box
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps(truth))
        coco.createIndex()
        official = COCOeval(coco, coco.loadRes(results), task)
        official.evaluate()
        official.accumulate()
        official.summarize()
    return official
