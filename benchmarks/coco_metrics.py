#!/usr/bin/env python
"""Time the COCO metric of this project against pycocotools, side by side in one process.

    python benchmarks/coco_metrics.py                # 5,000 images x 100 detections: minutes
    python benchmarks/coco_metrics.py --images 500 --rounds 3

Both start from the same parsed result list and end with the 12 numbers; reading the annotation file
is not timed. Times are CPU seconds of one thread. The data are random, with COCO's sizes and
proportions: 80 classes of very different frequency, about 7 objects per image, 1 percent of them
crowds.
"""

import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import mvit_det  # noqa: F401  before detectron2, which it makes importable
from mvit_det.evaluation.detection.files import CocoTruth, parse_results
from mvit_det.evaluation.detection.metrics import CocoScores, compute_coco_scores

HEIGHT, WIDTH, CLASSES, DETECTIONS = 480, 640, 80, 100


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw boxes (count, 4) as x, y, width, height: sides of 8 to 400 pixels, log-uniform."""
    size = np.exp(rng.uniform(np.log(8), np.log(400), (count, 1)) + rng.normal(0, 0.3, (count, 2)))
    size = np.minimum(size, [WIDTH, HEIGHT])
    return np.hstack([rng.random((count, 2)) * ([WIDTH, HEIGHT] - size), size]).round(2)


def ellipse(box: np.ndarray) -> dict[str, Any]:
    """Encode an ellipse of 24 corners in a box as a compressed RLE."""
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
            results.append(dict(image_id=image, category_id=int(k) + 1, bbox=box.tolist()))
            results[-1]["score"] = float(s)
            if masks:
                results[-1]["segmentation"] = ellipse(box)
    return (
        dict(
            images=[dict(id=i, height=HEIGHT, width=WIDTH) for i in range(images)],
            annotations=annotations,
            categories=[dict(id=k + 1, name=f"class {k}") for k in range(CLASSES)],
        ),
        results,
    )


def run_pycocotools(coco: COCO, results: list[dict[str, Any]], task: str) -> tuple[COCOeval, float]:
    """Run pycocotools; return the evaluation, and its seconds without reading the results."""
    with contextlib.redirect_stdout(io.StringIO()):
        official = COCOeval(coco, coco.loadRes(results), task)
        start = time.process_time()
        official.evaluate()
        official.accumulate()
        official.summarize()
    return official, time.process_time() - start


def run_ours(
    truth: CocoTruth, results: list[dict[str, Any]], task: str
) -> tuple[CocoScores, float]:
    """Run this project's metric, as in `run_pycocotools`, including TIDE's errors of boxes."""
    detections = parse_results(results, truth, "drawn results")
    start = time.process_time()
    return compute_coco_scores(truth, detections, task), time.process_time() - start


def largest_difference(official: COCOeval, scores: CocoScores) -> float:
    """Compare precision and the 12 numbers, as fractions from 0 to 1, -1 for undefined."""
    numbers = np.array(list(scores.summary.values())) / 100
    pairs = [(official.eval["precision"][..., 0, -1], scores.curves), (official.stats, numbers)]
    return max(np.abs(theirs - np.nan_to_num(ours, nan=-1)).max() for theirs, ours in pairs)


def compare(task: str, images: int, rounds: int) -> None:
    """Print medians, ratios and the largest difference of one task."""
    annotations, results = draw(images, masks=task == "segm")
    print(
        f"{task}: {images} images, {len(annotations['annotations'])} objects, "
        f"{len(results)} detections, {rounds} rounds",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.json"
        path.write_text(json.dumps(annotations), "utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            coco, truth = COCO(str(path)), CocoTruth(path)
    times: dict[str, list[tuple[float, float]]] = {"pycocotools": [], "mvit_det": []}
    unused = {"bbox"} if task == "segm" else {"segmentation"}
    for _ in range(rounds):
        done = []
        # pycocotools modifies the results it is given, so it gets a copy; without boxes, it assigns
        # masks to small, medium and large by the area of the mask.
        copies = [{k: v for k, v in result.items() if k not in unused} for result in results]
        for name, run, source, given in (
            ("pycocotools", run_pycocotools, coco, copies),
            ("mvit_det", run_ours, truth, results),
        ):
            start = time.process_time()
            outcome, alone = run(source, given, task)
            times[name].append((time.process_time() - start, alone))
            done.append(outcome)
    for index, what in enumerate(("from the list of results", "evaluation alone")):
        theirs, ours = (statistics.median(t[index] for t in times[name]) for name in times)
        print(
            f"  {what:25} pycocotools {theirs:7.2f} s   mvit_det {ours:6.2f} s   "
            f"ratio {theirs / ours:5.1f}"
        )
    print(
        f"  largest difference of precision and the 12 numbers: {largest_difference(*done):.1e}",
        flush=True,
    )


def main(args: Namespace) -> None:
    """Compare the metrics of boxes, then those of masks."""
    compare("bbox", args.images, args.rounds)
    compare("segm", args.mask_images, args.rounds)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000, help="images for boxes")
    parser.add_argument("--mask-images", type=int, default=500, help="images for masks")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are printed")
    main(parser.parse_args())
