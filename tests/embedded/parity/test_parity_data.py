"""The embedded host reads, augments and batches exactly as the real Detectron2."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hosts import both_hosts
from PIL import Image
from pycocotools import mask as coco_mask

SIZES = [(130, 200), (200, 130), (150, 150), (97, 233), (240, 101), (160, 210), (180, 90)]


def _rle(rng, height, width, compressed=True):
    mask = np.zeros((height, width), np.uint8, order="F")
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    mask[top : top + 40, left : left + 50] = 1
    if compressed:
        rle = coco_mask.encode(mask)
        return dict(size=[height, width], counts=rle["counts"].decode())
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    runs = np.diff(np.concatenate([[0], changes, [flat.size]]))
    return dict(size=[height, width], counts=runs.tolist())


def _polygon(rng, height, width, whole):
    angles = np.sort(rng.random(rng.integers(3, 9))) * 2 * np.pi
    center, radius = rng.random(2) * [width, height], rng.random(2) * 60 + 5
    points = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (points.round().astype(int) if whole else points).reshape(-1).tolist()


def _annotation(rng, height, width, kind):
    whole = bool(rng.random() < 0.4)
    polygon = _polygon(rng, height, width, whole)
    points = np.array(polygon).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    entry = dict(
        category_id=int(rng.choice([3, 11, 40])), bbox=[*low.tolist(), *(high - low).tolist()]
    )
    entry.update(area=float(entry["bbox"][2] * entry["bbox"][3]), iscrowd=0, note=kind)
    entry["segmentation"] = {
        "polygon": [polygon],
        "two": [polygon, _polygon(rng, height, width, whole)],
        "rle": _rle(rng, height, width),
        "runs": _rle(rng, height, width, compressed=False),
        "crowd": _rle(rng, height, width, compressed=False),
        "short": [[1, 2, 3, 4], polygon],
        "invalid": [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7]],
        "none": [],
    }[kind]
    entry["iscrowd"] = int(kind == "crowd")
    if kind == "none" and whole:
        del entry["segmentation"], entry["iscrowd"]
    return entry


def make_coco(folder, kinds):
    """Write images of several sizes with annotations of these kinds, in COCO format."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number, (height, width) in enumerate(SIZES):
        image = dict(id=50 - 3 * number, file_name=f"{number}.png", height=height, width=width)
        pixels = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(folder / image["file_name"])
        images.append(image)
        for _ in range(rng.integers(1, 6) if number != 2 else 0):
            entry = _annotation(rng, height, width, str(rng.choice(kinds)))
            annotations.append(dict(entry, id=len(annotations) + 1, image_id=image["id"]))
    categories = [dict(id=i, name=f"class {i}") for i in (40, 3, 11)]
    coco = dict(images=images, annotations=annotations, categories=categories)
    path = folder / f"{'-'.join(kinds)}.json"
    path.write_text(json.dumps(coco))
    return str(path)


SCRIPT = """
import itertools, random, copy
import numpy as np, torch
from PIL import Image
import detectron2.data.transforms as T
import detectron2.data.detection_utils as utils
from detectron2.data import (DatasetCatalog, DatasetMapper, MetadataCatalog, MapDataset,
    build_detection_test_loader, build_detection_train_loader, get_detection_dataset_dicts)
from detectron2.data.datasets import load_coco_json, register_coco_instances
from detectron2.data.datasets.coco import convert_to_coco_dict
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.structures import BoxMode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

result = {}
names = {}
for key, path in files.items():
    names[key] = "parity_" + key
    register_coco_instances(names[key], {"remark": 1}, path, images)

# ---- sizes and random draws
rng = np.random.default_rng(0)
sizes = rng.integers(1, 1500, (4000, 2)).tolist()
result["shortest_edge"] = [
    tuple(T.ResizeShortestEdge.get_output_shape(h, w, short, limit))
    for h, w in sizes for short, limit in ((480, 1333), (800, 1333), (37, 64), (512, 10**9))
]
augmentations = [
    T.ResizeScale(0.1, 2.0, 124, 124), T.ResizeScale(0.8, 1.25, 77, 31, interp=0),
    T.FixedSizeCrop((64, 64)), T.FixedSizeCrop([32, 120], pad=False),
    T.RandomCrop("absolute", (60, 60)), T.RandomCrop("absolute_range", (20, 90)),
    T.RandomCrop("relative", (0.3, 0.9)), T.RandomCrop("relative_range", (0.2, 0.7)),
    T.ResizeShortestEdge((20, 90), 120), T.ResizeShortestEdge([30, 60], sample_style="choice"),
    T.ResizeShortestEdge([0, 40], sample_style="choice", interp=3), T.ResizeShortestEdge(33),
    T.Resize(40), T.Resize((31, 70), interp=0), T.RandomResize([(20, 30), (90, 44)]),
    T.RandomApply(T.RandomCrop("absolute_range", (10, 40)), prob=0.3),
    T.RandomApply(T.HFlipTransform(41), prob=0.5),
    T.RandomFlip(0.3), T.RandomFlip(0.7, horizontal=False, vertical=True),
    T.RandomRotation(30), T.RandomRotation([-90, 90]), T.RandomRotation([-50, 50], expand=False),
    T.RandomRotation([0, 90, 180, 17.5], sample_style="choice"),
    T.RandomRotation([10, 20], expand=False, center=[[0.2, 0.3], [0.8, 0.7]], interp=0),
    T.RandomExtent((0.5, 1.4), (0.6, 0.3)), T.RandomBrightness(0.2, 1.8),
    T.RandomContrast(0.2, 1.8), T.RandomSaturation(0.0, 2.0), T.RandomLighting(90.0),
    T.AugmentationList([T.ColorTransform(lambda x: 255 - x), T.RandomFlip(1.0), T.Resize(20),
                        T.PILColorTransform(lambda x: x.point(lambda v: v // 2))]),
]
canvas = [rng.integers(0, 256, (*hw, 3), dtype=np.uint8) for hw in ((50, 80), (133, 100), (97, 41))]
canvas.append((canvas[-1] / 255).astype(np.float32))
byte_only = (T.RandomExtent, T.AugmentationList)
draws = {}
for number, augmentation in enumerate(augmentations):
    for which, image in enumerate(canvas):
        if image.dtype != np.uint8 and isinstance(augmentation, byte_only):
            continue  # Pillow does not support floats
        for seed in range(12):
            np.random.seed(seed)
            labels = np.random.RandomState(0).randint(0, 4, (9, 9)).astype(np.uint8).repeat(15, 0)
            labels = labels.repeat(15, 1)[: image.shape[0], : image.shape[1]]
            boxes = np.array([[1.0, 2, 30, 41], [20, 5, 38, 48]])
            aug_input = T.AugInput(image, boxes=boxes, sem_seg=labels)
            chosen = augmentation(aug_input)
            points = chosen.apply_coords(np.array([[3.0, 4], [20.5, 7]]))
            draws[number, which, seed] = (
                aug_input.image, aug_input.boxes, aug_input.sem_seg, points, np.random.rand())
result["draws"] = draws
turn = T.RotationTransform(40, 60, 25)
result["back"] = turn.inverse().apply_image(turn.apply_image(canvas[0][:40, :60]))

# ---- pixels
noise = rng.integers(0, 256, (31, 47, 3), dtype=np.uint8)
pixels = []
for new in ((62, 94), (17, 20), (40, 13)):
    for interp in (None, 0, 2, 3):
        resize = T.ResizeTransform(31, 47, *new, interp)
        for image in (noise, noise[..., :1], noise[..., 0], noise[:, ::-1]):
            pixels += [resize.apply_image(image), resize.apply_segmentation(image)]
    for points in (rng.random((5, 2)) * 30, np.arange(8).reshape(4, 2)):
        for kind in (None, np.float32):
            converted = points.copy() if kind is None else points.astype(kind)
            pixels.append(resize.apply_coords(converted))
result["pixels"] = pixels

read = {}
for mode in ("RGB", "L", "P", "CMYK", "RGBA", "I;16"):
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 150)
    elif mode != "RGB":
        image = image.convert(mode)
    file_name = f"{scratch}/{mode.replace(';', '')}.tif"
    image.save(file_name)
    for wanted in (None, "RGB", "BGR", "L"):
        read[mode, wanted] = utils.read_image(file_name, wanted)
for orientation in range(1, 10):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(f"{scratch}/exif.png", exif=exif)
    read["exif", orientation] = utils.read_image(f"{scratch}/exif.png", "BGR")
result["read"] = read

# ---- annotation files
loaded = {}
for key, path in files.items():
    loaded[key] = load_coco_json(path, images), load_coco_json(path, images, None, ["note", "id"])
    loaded[key] += (DatasetCatalog.get(names[key]), vars(MetadataCatalog.get(names[key])))
    loaded[key] += tuple(get_detection_dataset_dicts(names[key], filter_empty=e) for e in (0, 1))
result["loaded"] = loaded
result["builtin"] = [dict(vars(MetadataCatalog.get(f"coco_2017_{s}"))) for s in ("train", "val")]
for metadata in result["builtin"]:
    metadata.pop("thing_colors", None)
converted = [convert_to_coco_dict(name) for name in names.values()]
box = dict(bbox=np.array([0.1234567, 1, 3, 3.3]), bbox_mode=BoxMode.XYXY_ABS, category_id=1)
record = dict(file_name="a.png", height=4, width=5, annotations=[box])
DatasetCatalog.register("parity_plain", lambda: [record] * 2)
MetadataCatalog.get("parity_plain").thing_classes = ["a", "b"]
result["converted"] = [{k: v for k, v in coco.items() if k != "info"}
                       for coco in (*converted, convert_to_coco_dict("parity_plain"))]

# ---- mapper
def plain(sample):
    sample = dict(sample)
    instances = sample.pop("instances", None)
    if instances is not None:
        fields = instances.get_fields()
        sample["size"], sample["fields"] = instances.image_size, sorted(fields)
        sample["boxes"] = fields["gt_boxes"].tensor
        sample["classes"] = fields["gt_classes"]
        masks = fields.get("gt_masks")
        sample["masks"] = getattr(masks, "polygons", None) or getattr(masks, "tensor", None)
    return sample

short = list(range(480, 801, 32))
released = [
    T.RandomApply(T.AugmentationList([
        T.ResizeShortestEdge([400, 500, 600], sample_style="choice"),
        T.RandomCrop("absolute_range", (384, 600)),
    ]), prob=0.5),
    T.ResizeShortestEdge(short, max_size=1333, sample_style="choice"),
    T.RandomFlip(),
]
jitter = [
    T.RandomFlip(), T.ResizeScale(0.1, 2.0, 256, 256),
    T.FixedSizeCrop((256, 256), pad_value=128),
]
branches = {
    "released": ("polygons", dict(augmentations=released, image_format="RGB",
                                  use_instance_mask=True), 10),
    "jitter": ("polygons", dict(augmentations=jitter, image_format="BGR",
                                use_instance_mask=True, recompute_boxes=True), 20),
    "bitmask": ("mixed", dict(augmentations=jitter, image_format="BGR", recompute_boxes=True,
                              use_instance_mask=True, instance_mask_format="bitmask"), 10),
    "boxes": ("mixed", dict(augmentations=[T.RandomCrop("absolute", (70, 80))],
                            image_format="L"), 10),
    "test": ("mixed", dict(augmentations=[T.ResizeShortestEdge(80, max_size=100)],
                           image_format="BGR", use_instance_mask=True), 1),
}
mapped = {}
for branch, (key, arguments, seeds) in branches.items():
    mapper = DatasetMapper(is_train=branch != "test", **arguments)
    dicts = get_detection_dataset_dicts(names[key])
    for seed in range(seeds):
        for d in dicts:
            before = copy.deepcopy(d)
            np.random.seed(seed)
            mapped[branch, seed, d["image_id"]] = plain(mapper(d))
            assert d == before
result["mapped"] = mapped

# ---- samplers
real_rank, real_world = comm.get_rank, comm.get_world_size
streams = {}
for size, world in ((7, 1), (7, 2), (10, 3), (2, 4)):
    for rank in range(world):
        comm.get_rank, comm.get_world_size = lambda: rank, lambda: world
        for seed in (0, 5):
            stream = TrainingSampler(size, seed=seed)
            streams[size, world, rank, seed] = list(itertools.islice(stream, 40))
        ordered = TrainingSampler(size, shuffle=False, seed=0)
        inference = list(InferenceSampler(size))
        streams[size, world, rank] = list(itertools.islice(ordered, 20)), inference
comm.get_rank, comm.get_world_size = real_rank, real_world
np.random.seed(3)
streams["random seed"] = list(itertools.islice(TrainingSampler(9), 30))
result["streams"] = streams

# ---- loaders
def draw(d):
    numbers = np.random.randint(1000), random.randint(0, 999), torch.randint(1000, (1,)).item()
    return None if d["skip"] else dict(d, numbers=numbers)

items = [dict(number=i, width=(i * 7) % 5 + 1, height=3, skip=i in (4, 5)) for i in range(13)]
batches = {}
for workers, grouped in itertools.product((0, 2), (True, False)):
    seed_all_rng(11)
    loader = build_detection_train_loader(
        items, mapper=draw, total_batch_size=3, aspect_ratio_grouping=grouped,
        num_workers=workers,
    )
    batches[workers, grouped] = list(itertools.islice(loader, 12))
for workers in (0, 2):
    seed_all_rng(11)
    loader = build_detection_test_loader(items, mapper=draw, batch_size=2, num_workers=workers)
    batches["test", workers] = len(loader), list(loader)
result["batches"] = batches
sequence = MapDataset(list(range(20)), lambda i: None if i % 3 else i)
result["skipping"] = [sequence[i] for i in range(20)]
"""


def assert_same(real: Any, ours: Any, where: str = "result") -> None:
    """Assert equality of nested containers and arrays, of floats within 1e-12; NaN equals NaN."""
    if isinstance(real, (torch.Tensor, np.ndarray)):
        assert type(real) is type(ours) and real.dtype == ours.dtype, where
        np.testing.assert_allclose(np.asarray(ours), np.asarray(real), 1e-12, 1e-12, err_msg=where)
    elif isinstance(real, dict):
        assert list(real) == list(ours) or set(real) == set(ours), where
        for key in real:
            assert_same(real[key], ours[key], f"{where}[{key!r}]")
    elif isinstance(real, (list, tuple)):
        assert len(real) == len(ours), where
        for number, (first, second) in enumerate(zip(real, ours)):
            assert_same(first, second, f"{where}[{number}]")
    else:
        assert real == ours or real != real and ours != ours, f"{where}: {real} and {ours}"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    folder, scratch = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("scratch")
    files = {
        "polygons": make_coco(folder, ["polygon", "two", "crowd", "short"]),
        "mixed": make_coco(folder, ["rle", "runs", "polygon", "crowd"]),
        "odd": make_coco(folder, ["invalid", "none", "short", "polygon", "crowd"]),
    }
    return both_hosts(SCRIPT, files=files, images=str(folder), scratch=str(scratch))


PARTS = "shortest_edge draws pixels read loaded builtin mapped streams batches skipping back"


@pytest.mark.parametrize("part", [*PARTS.split(), "converted"])
def test_data_is_equal(hosts, part):
    real, ours = hosts
    assert_same(real[part], ours[part], part)
