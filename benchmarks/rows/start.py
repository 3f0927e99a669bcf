"""The start of a training on a file of COCO's size, up to the first batch.

Each run is a process of its own, which reads the file as a training does, and two loading
processes. Time is from the call that reads the file until the first batch is there, without
imports. Memory is the largest proportional set size (memory that processes share counts once) of
all three. Both sides have the same mapper and batch. Ours also does what `do_train` does before it
builds a model: it checks each entry of the file, the pictures' names and a sample of them, and
reads, checks and tries the data of the test, which are a file of 64 pictures; Detectron2 does none
of that.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rows import Options, Row

IMAGES, ANNOTATIONS, TESTED = 118_000, 860_000, 64
BATCH, WORKERS = 16, 2
# height and width of the drawn pictures; each has thousands of names
SIZES = ((480, 640), (640, 480), (427, 640), (640, 427), (333, 500), (500, 375), (612, 612))
_POLL = 0.5  # seconds between two looks at the memory, which slow the process down


def rows() -> Iterator[Row]:
    """Yield the row."""
    what = f"{IMAGES:,} images, {ANNOTATIONS:,} annotations: from the call to the first batch"
    build = partial(_starts, IMAGES, ANNOTATIONS)
    yield Row("start", what, "Detectron2", "detectron2._C", build, precisions=False)


def _starts(
    images: int, annotations: int, side: str, options: Options
) -> Callable[[], dict[str, float]]:
    """Return a function that starts a training once; it returns seconds and bytes."""
    folder = drawn_coco(images, annotations)
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def run() -> dict[str, float]:
        command = [sys.executable, "-m", "rows.start", side, str(folder)]
        null, pipe = subprocess.DEVNULL, subprocess.PIPE  # what is logged is not measured
        with subprocess.Popen(command, env=environment, stdout=pipe, stderr=null) as child:
            peak = 0
            while child.poll() is None:
                peak = max(peak, memory_of_tree(child.pid))
                time.sleep(_POLL)
            assert child.stdout is not None and child.returncode == 0, "the start failed"
            return {"seconds": float(child.stdout.readline()), "peak": peak}

    return run


def memory_of_tree(process: int) -> int:
    """Return the proportional set size of a process and its children in bytes (Linux)."""
    total = 0
    try:
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
        with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
            total += sum(memory_of_tree(int(child)) for child in file.read().split())
    except OSError:  # it has ended
        pass
    return total


# ---------------------------------------------------------------------------------- the drawn data


def drawn_coco(images: int, annotations: int) -> Path:
    """Return a folder with ``train.json``, ``test.json`` and ``images``; draw them if need be.

    The file is like instances_train2017.json: polygons of 27 points on average with two decimals, 1
    of 100 annotations a crowd in RLE, 80 classes with gaps between their ids.
    """
    folder = Path(tempfile.gettempdir()) / f"mvit_det_start_{images}_{annotations}"
    if folder.exists():
        return folder
    draft = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
    _draw_pictures(draft, images)
    for name, count in (("train", images), ("test", min(TESTED, images))):
        with open(draft / f"{name}.json", "w", encoding="ascii") as file:
            file.writelines(_json(count, annotations * count // images))
    time.sleep(3)  # a file that has just been written is read again by our readers
    try:
        draft.rename(folder)
    except OSError:  # the other side was faster
        shutil.rmtree(draft)
    return folder


def _draw_pictures(folder: Path, images: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number, (height, width) in enumerate(SIZES):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
        coarse.resize((width, height)).save(folder / f"{number}.jpg", quality=90)
    for number in range(images):
        os.symlink(f"../{number % len(SIZES)}.jpg", folder / "images" / f"{number:012}.jpg")


def _json(images: int, annotations: int) -> Iterator[str]:
    """Yield the parts of a COCO file."""
    yield '{"info": {"year": 2017},"licenses": [],"images": ['
    for number in range(images):
        height, width = SIZES[number % len(SIZES)]
        entry = dict(license=3, file_name=f"{number:012}.jpg", coco_url="http://images.cocodataset")
        entry.update(height=height, width=width, date_captured="2013-11-14 17:02:52", id=number)
        yield ("," if number else "") + _compact(entry)
    yield '],"annotations": ['
    rng = np.random.default_rng(1)
    texts = [repr(value / 100) for value in range(100 * max(map(max, SIZES)) + 1)]
    ids = [number for number in range(1, 91) if number % 9]
    for number in range(annotations):
        image = number * images // annotations
        yield ("," if number else "") + _annotation(rng, number + 1, image, ids, texts)
    categories = [dict(supercategory="thing", id=each, name=f"class {each}") for each in ids]
    yield '],"categories": ' + _compact(categories) + "}"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ": "))


def _annotation(rng: Any, number: int, image: int, ids: list[int], texts: list[str]) -> str:
    height, width = SIZES[image % len(SIZES)]
    sides = np.array([width, height])
    half = sides * rng.uniform(0.01, 0.25, 2)
    centre = half + rng.uniform(0, 1, 2) * (sides - 2 * half)
    angles = np.linspace(0, 2 * np.pi, int(rng.integers(6, 49)), endpoint=False)
    radius = rng.uniform(0.5, 1, (len(angles), 1))
    points = centre + half * radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    first, last = points.min(axis=0), points.max(axis=0)
    x, y, w, h = (round(value, 2) for value in (*first, *(last - first)))
    crowd = int(number % 100 == 0)
    if crowd:
        counts = rng.multinomial(height * width, np.full(41, 1 / 41)).tolist()
        mask = _compact({"counts": counts, "size": [height, width]})
    else:
        hundredths = (points * 100).astype(int).ravel().tolist()
        mask = "[[" + ",".join(map(texts.__getitem__, hundredths)) + "]]"
    area = round(float(np.prod(last - first)) * 0.6, 4)
    label = ids[int(rng.integers(len(ids)))]
    return (
        f'{{"segmentation": {mask},"area": {area},"iscrowd": {crowd},"image_id": {image},'
        f'"bbox": [{x},{y},{w},{h}],"category_id": {label},"id": {number}}}'
    )


# ----------------------------------------------------------------------------- the measured process


def _augmentations() -> list[Any]:
    import detectron2.data.transforms as T
    from detectron2.config import LazyCall as L

    sizes = tuple(range(480, 801, 32))
    resize = L(T.ResizeShortestEdge)(short_edge_length=sizes, max_size=1333, sample_style="choice")
    return [resize, L(T.RandomFlip)(horizontal=True)]


def _peer(folder: Path) -> Callable[[], Iterator[Any]]:
    from detectron2.config import instantiate
    from detectron2.data import (
        DatasetMapper,
        build_detection_train_loader,
        get_detection_dataset_dicts,
    )
    from detectron2.data.datasets import register_coco_instances

    augmentations = [instantiate(node) for node in _augmentations()]

    def start() -> Iterator[Any]:
        register_coco_instances("start", {}, str(folder / "train.json"), str(folder / "images"))
        mapper = DatasetMapper(
            True, augmentations=augmentations, image_format="RGB", use_instance_mask=True
        )
        loader = build_detection_train_loader(
            get_detection_dataset_dicts("start"),
            mapper=mapper,
            total_batch_size=BATCH,
            num_workers=WORKERS,
        )
        return iter(loader)

    return start


def _ours(folder: Path) -> Callable[[], Iterator[Any]]:
    from detectron2.config import instantiate

    import mvit_det
    from mvit_det.data.custom.files import CustomFiles
    from mvit_det.engine.train import build_data
    from mvit_det.files import reading_once

    cfg = mvit_det.get_config("mask_rcnn_mvitv2_t_3x")

    def start() -> Iterator[Any]:
        task = instantiate(cfg.task)
        images = str(folder / "images")
        files = [str(folder / "train.json"), images, str(folder / "test.json"), images]
        names = ("train_json", "train_images", "val_json", "val_images")
        with reading_once():
            task.use_custom_data(cfg, CustomFiles(**dict(zip(names, files))))
            task.settle_classes(cfg, training=True)
            cfg.dataloader.train.update(total_batch_size=BATCH, num_workers=WORKERS)
            cfg.dataloader.train.mapper.augmentations = _augmentations()
            loader = build_data(cfg, 1, partial(task.check_test_data, cfg))
        return iter(loader)

    return start


def _measure(side: str, folder: Path) -> None:
    start = {"ours": _ours, "peer": _peer}[side](folder)
    begin = time.perf_counter()
    batches = start()
    batch = next(batches)  # and the loading processes stay
    seconds = time.perf_counter() - begin
    assert len(batch) == BATCH
    time.sleep(2 * _POLL)  # the memory with the loading processes is looked at
    print(seconds, flush=True)
    os._exit(0)  # without waiting for batches that nobody takes


if __name__ == "__main__":
    _measure(sys.argv[1], Path(sys.argv[2]))
