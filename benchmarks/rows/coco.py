"""COCO's metrics, from the list of results to the 12 numbers, or ("-alone") without reading it.

The data are random, with COCO's sizes and proportions: 80 classes of very different frequency,
about 7 objects per image, 1 percent of them crowds, 100 detections per image. Precision and the 12
numbers are compared.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rows import Options, Row

HEIGHT, WIDTH, CLASSES, DETECTIONS = 480, 640, 80, 100
IMAGES = {"bbox": 5000, "segm": 500}
TITLES = {"bbox": "boxes", "segm": "masks"}


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for task, images in IMAGES.items():
        for alone in (False, True):
            name = f"coco-{TITLES[task]}" + "-alone" * alone
            what = f"COCO's AP of {TITLES[task]}, {images} images x {DETECTIONS} detections"
            what += ", evaluation alone" * alone
            yield Row(
                name,
                what,
                "pycocotools",
                "pycocotools",
                partial(_build, task, alone),
                precisions=False,
                prepare=partial(_prepare, task),
                named=alone,
            )


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw boxes (count, 4) as x, y, width, height: sides of 8 to 400 pixels, log-uniform."""
    size = np.exp(rng.uniform(np.log(8), np.log(400), (count, 1)) + rng.normal(0, 0.3, (count, 2)))
    size = np.minimum(size, [WIDTH, HEIGHT])
    return np.hstack([rng.random((count, 2)) * ([WIDTH, HEIGHT] - size), size]).round(2)


def ellipse(box: np.ndarray) -> dict[str, Any]:
    """Encode an ellipse of 24 corners in a box as a compressed RLE."""
    from pycocotools import mask as coco_mask

    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x, y = box[0] + box[2] * (1 + np.cos(angle)) / 2, box[1] + box[3] * (1 + np.sin(angle)) / 2
    polygon = np.stack([x.clip(0, WIDTH), y.clip(0, HEIGHT)], axis=1).ravel().tolist()
    rle = coco_mask.merge(coco_mask.frPyObjects([polygon], HEIGHT, WIDTH))
    return dict(size=rle["size"], counts=rle["counts"].decode())


def draw(images: int, masks: bool, seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw annotations, and results: 1 to 4 near each object, the rest anywhere."""
    rng = np.random.default_rng(seed)
    frequency = rng.pareto(1.0, CLASSES) + 0.2
    frequency /= frequency.sum()
    annotations, results = [], []
    for image in range(images):
        present = rng.choice(CLASSES, 3, p=frequency)
        truth = boxes(rng, rng.poisson(7.3))
        label = rng.choice(present, len(truth))
        for box, k in zip(truth, label):
            annotations.append(dict(image_id=image, category_id=int(k) + 1, bbox=box.tolist()))
            annotations[-1].update(
                id=len(annotations), area=0.7 * box[2] * box[3], iscrowd=int(rng.random() < 0.01)
            )
            if masks:
                annotations[-1]["segmentation"] = ellipse(box)
        near = np.repeat(np.arange(len(truth)), rng.integers(1, 5, len(truth)))[:DETECTIONS]
        moved = truth[near] + rng.normal(0, 0.1, (len(near), 4)) * truth[near][:, [2, 3, 2, 3]]
        moved[:, 2:] = np.maximum(moved[:, 2:], 1)
        rest = DETECTIONS - len(near)
        anywhere = rng.choice(CLASSES, rest, p=frequency)
        there = np.where(rng.random(rest) < 0.5, rng.choice(present, rest), anywhere)
        found = np.vstack([moved, boxes(rng, rest)])
        score = np.concatenate([rng.random(len(near)), rng.random(rest) ** 3])
        for box, k, s in zip(found, np.concatenate([label[near], there]), score):
            results.append(dict(image_id=image, category_id=int(k) + 1, score=float(s)))
            # with boxes, pycocotools assigns masks to small, medium and large by the area of the
            # box, not by that of the mask
            shape = {"segmentation": ellipse(box)} if masks else {"bbox": box.tolist()}
            results[-1].update(shape)
    return (
        dict(
            images=[dict(id=i, height=HEIGHT, width=WIDTH) for i in range(images)],
            annotations=annotations,
            categories=[dict(id=k + 1, name=f"class {k}") for k in range(CLASSES)],
        ),
        results,
    )


def _prepare(task: str, options: Options) -> None:
    drawn = draw(20 if options.quick else IMAGES[task], masks=task == "segm")
    for name, content in zip(("annotations", "results"), drawn):
        (Path(options.folder) / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def _build(task: str, alone: bool, side: str, options: Options) -> Callable[[], Any]:
    folder = Path(options.folder)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    build = _ours if side == "ours" else _pycocotools
    with contextlib.redirect_stdout(io.StringIO()):
        read, evaluate = build(folder / "annotations.json", results, task)
    given = read() if alone else None
    return lambda: evaluate(given if alone else read())


def _ours(path: Path, results: list[dict[str, Any]], task: str) -> tuple[Callable, Callable]:
    """Return what reads the results, and what computes precision and the 12 numbers."""
    import mvit_det  # noqa: F401  before detectron2, which it makes importable
    from mvit_det.evaluation.detection.files import CocoTruth, parse_results
    from mvit_det.evaluation.detection.metrics import compute_coco_scores

    truth = CocoTruth(path)

    def evaluate(detections: Any) -> list[np.ndarray]:
        scores = compute_coco_scores(truth, detections, task)
        numbers = np.array(list(scores.summary.values())) / 100
        return [np.nan_to_num(each, nan=-1) for each in (scores.curves, numbers)]

    return lambda: parse_results(results, truth, "drawn results"), evaluate


def _pycocotools(path: Path, results: list[dict[str, Any]], task: str) -> tuple[Callable, Callable]:
    """Return the same as `_ours`; -1 is undefined."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO(str(path))

    def read() -> COCO:
        # It modifies the results that it is given, so it gets copies: 1 of 100 of its time.
        return coco.loadRes([dict(each) for each in results])

    def evaluate(found: COCO) -> list[np.ndarray]:
        official = COCOeval(coco, found, task)
        official.evaluate()
        official.accumulate()
        official.summarize()
        return [official.eval["precision"][..., 0, -1], official.stats]

    return read, evaluate
