"""Data sets in COCO format: custom files, and data sets registered in Detectron2.

`coco_dataset` and `named_dataset` are used in ``dataset=L(...)(...)`` nodes of a config and return
Detectron2's dataset dicts. They check the files before the model is built: faults are either
refused in one sentence, or dropped, counted and logged in one table per data set.
"""

import difflib
import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.data import (
    DatasetCatalog,
    MetadataCatalog,
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)
from detectron2.structures import BoxMode

from mvit_det.coco_suspicions import split_suspicion, suspicions
from mvit_det.commands import command
from mvit_det.data.bad_samples import TooManyBad
from mvit_det.data.catalog import OWNER, free_name
from mvit_det.data.detection.annotations import (
    annotation_fault,
    check_coco_json,
    coco_categories,
    read_coco_json,
    suspect_masks,
)
from mvit_det.data.detection.readers import (
    HOST_KEYS,
    class_labels,
    is_read_by_host,
    loader,
    replace_reader,
)
from mvit_det.data.image_files import missing_files, unreadable_files
from mvit_det.data.paths import datasets_root
from mvit_det.errors import UserError, shorten_list
from mvit_det.files import atomic_folder

logger = logging.getLogger(__name__)


def class_names(json_file: str | os.PathLike) -> list[str]:
    """Return the class names of a COCO file by ascending id, the order of the model's outputs.

    Raises:
        UserError: as for `read_coco_json`.
    """
    return [entry["name"] for entry in coco_categories(json_file)]


def registered_categories(node: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Get the classes of a config node from Detectron2's catalog or its annotation file.

    Args:
        node: arguments of a dataset function, with ``names`` or ``json_file``.

    Returns:
        "id" and "name" of each class in the order of the model's outputs; None if not known.

    Raises:
        UserError: the annotation file cannot be read.
    """
    names = node.get("names")
    if names is None:
        path = node.get("json_file")
        return coco_categories(path) if path and os.path.isfile(path) else None
    name = names if isinstance(names, str) else names[0]
    if name not in MetadataCatalog.list():
        return None
    known = MetadataCatalog.get(name)
    classes = known.get("thing_classes", None)
    if classes is None:
        return registered_categories({"json_file": known.get("json_file", None)})
    labels = known.get("thing_dataset_id_to_contiguous_id", None)
    ids = sorted(labels, key=labels.get) if labels else range(1, len(classes) + 1)
    return [{"id": number, "name": name} for number, name in zip(ids, classes)]


def has_masks(json_file: str | os.PathLike) -> bool:
    """Return whether an annotation has a mask; True if there are no annotations at all.

    Raises:
        UserError: as for `read_coco_json`.
    """
    annotations = read_coco_json(json_file).get("annotations")
    return not annotations or any(entry.get("segmentation") for entry in annotations)


def uses_rle(json_file: str | os.PathLike) -> bool:
    """Return whether a trainable mask is RLE, so that the mapper needs ``"bitmask"`` masks.

    Raises:
        UserError: as for `read_coco_json`.
    """
    return any(
        isinstance(annotation.get("segmentation"), dict) and not annotation.get("iscrowd")
        for annotation in read_coco_json(json_file).get("annotations", [])
    )


def coco_dataset(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    filter_empty: bool = True,
    masks: bool = True,
    max_bad_share: float = 0.1,
    same_classes_as: str | os.PathLike | None = None,
    num_classes: int | None = None,
    max_detections: int | None = None,
) -> list[dict[str, Any]]:
    """Register a custom COCO file under ``name``, check and clean it, and return its dicts.

    A later call with the same name replaces the registration.

    Args:
        name: entry of Detectron2's catalogs.
        json_file: COCO annotation file.
        image_root: folder that the ``file_name`` entries are relative to.
        filter_empty: True, for training: drop images without a usable annotation, and bad image
            files. False, for testing: keep them, since the evaluator reads all images from the
            file, so that the objects of a missing image count as not found.
        masks: True: masks are trained, and an annotation without one is bad. False: masks are not
            read.
        max_bad_share: largest share (0..1) of bad image files, and of bad annotations, that is
            dropped with a warning.
        same_classes_as: another annotation file, such as the training file for a test file, which
            must have the same classes; None: not checked.
        num_classes: number of classes the model is built for; None: not checked.
        max_detections: detections of an image that the model returns, to warn of more objects;
            None: 100.

    Returns:
        Detectron2's dataset dicts. A polygon of floats is an array, `mvit_det.coco_files.Polygon`.

    Raises:
        UserError: a file is refused by `check_coco_json`, the classes do not match, too many images
            or annotations are bad, none is left, or the name is taken.
    """
    json_file, image_root = str(json_file), str(image_root)
    coco = check_coco_json(json_file)
    if same_classes_as is not None:
        _check_same_classes(json_file, str(same_classes_as))
    for suspicion in suspicions(coco, filter_empty, max_detections):
        logger.warning("%s: %s.", json_file, suspicion)
    _check_num_classes(json_file, len(coco["categories"]), num_classes)
    coco, source = _complete(coco, json_file)
    faults = defaultdict(list)
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    suspects = suspect_masks(entry.get("segmentation") for entry in coco["annotations"])
    for annotation in coco["annotations"]:
        mask = annotation.get("segmentation") if masks else None
        size, suspect = sizes[annotation["image_id"]], id(mask) in suspects
        fault = annotation_fault(annotation["bbox"], mask, *size, masks, suspect)
        if fault:
            faults[fault].append(annotation["id"])
    bad_ids = set(chain.from_iterable(faults.values()))

    free_name(name)
    labels, names = class_labels(coco)
    load = loader(coco, source, image_root, labels, (*HOST_KEYS, "id"), bad_ids, masks)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        thing_classes=names,
        thing_dataset_id_to_contiguous_id=labels,
        json_file=source,
        image_root=image_root,
        evaluator_type="coco",
        registered_by=OWNER,
    )
    _check_share(json_file, faults, len(coco["annotations"]), max_bad_share)
    dicts = DatasetCatalog.get(name)
    # as `get_detection_dataset_dicts` does for each picture by itself, which takes long
    every = chain.from_iterable(image["annotations"] for image in dicts)
    print_instances_class_histogram([{"annotations": list(every)}], names)
    return _select_images(name, dicts, faults, image_root, filter_empty, max_bad_share)


def named_dataset(
    names: str | Sequence[str],
    *,
    filter_empty: bool = True,
    masks: bool = True,
    max_bad_share: float = 0.1,
    num_classes: int | None = None,
    max_detections: int | None = None,
) -> list[dict[str, Any]]:
    """Load and clean data sets that are registered by name, such as "coco_2017_train".

    The files of Detectron2's `register_coco_instances` are read, checked and completed as by
    `coco_dataset`, for which the function in the catalog is replaced by another that returns the
    same. Data sets that are registered with other functions are loaded by these.

    Args:
        names: one or several entries of Detectron2's catalogs; data sets are joined.
        filter_empty: as for `coco_dataset`.
        masks: as for `coco_dataset`.
        max_bad_share: as for `coco_dataset`.
        num_classes: as for `coco_dataset`.
        max_detections: as for `coco_dataset`.

    Returns:
        Detectron2's dataset dicts.

    Raises:
        UserError: a name is not known, its files are not on disk, or as for `coco_dataset`.
    """
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        _check_available(name)
        if is_read_by_host(name):
            replace_reader(name, filter_empty, max_detections)
    dicts = get_detection_dataset_dicts(names, filter_empty=False)
    for name in names:
        _check_num_classes(name, len(MetadataCatalog.get(name).thing_classes), num_classes)
    faults, total = defaultdict(list), 0
    every = (entry for image in dicts for entry in image.get("annotations", []))
    suspects = suspect_masks(entry.get("segmentation") for entry in every)
    for image in dicts:
        usable = []
        for index, annotation in enumerate(image.get("annotations", [])):
            box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYWH_ABS)
            size = image.get("width", float("inf")), image.get("height", float("inf"))
            if not masks:
                annotation = {k: v for k, v in annotation.items() if k != "segmentation"}
            mask = annotation.get("segmentation")
            fault = annotation_fault(box, mask, *size, masks, id(mask) in suspects)
            if fault:
                faults[fault].append(f"#{index} of {os.path.basename(image['file_name'])}")
            else:
                usable.append(annotation)
            total += 1
        if "annotations" in image:
            image["annotations"] = usable
    title = " + ".join(names)
    _check_share(title, faults, total, max_bad_share)
    root = MetadataCatalog.get(names[0]).get("image_root", title)
    return _select_images(title, dicts, faults, root, filter_empty, max_bad_share)


def _complete(coco: dict[str, Any], json_file: str) -> tuple[dict[str, Any], str]:
    """Return content and path of a file that any COCO metric can read: as given, or completed.

    pycocotools needs 'area' and 'iscrowd', and counts an object with id 0 as not found. Many
    exporters leave out both keys and count from 0. The completed copy is stored in the datasets
    folder.
    """
    changes = [f"{key} ({count})" for key, count in sorted(coco.get("completed", {}).items())]
    annotations = coco["annotations"]
    if any(entry["id"] == 0 for entry in annotations):
        changes.append("an id other than 0")
        free = 1 + max(entry["id"] for entry in annotations)
        annotations = [{**entry, "id": entry["id"] or free} for entry in annotations]
    if not changes:
        return coco, json_file
    coco = {**coco, "annotations": annotations}
    coco.pop("completed", None)
    text = json.dumps(coco, default=list)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = datasets_root() / "completed" / f"{Path(json_file).stem}-{digest}"
    if not folder.exists():
        what = f"a completed copy of {json_file}, which lacks {shorten_list(changes)},"
        fix = (
            "add them to each annotation, or set DETECTRON2_DATASETS to a folder that is writable."
        )
        with atomic_folder(folder, what, fix) as draft:
            (draft / "annotations.json").write_text(text, "utf-8")
    copy = str(folder / "annotations.json")
    logger.info("%s lacks %s: using the completed copy %s", json_file, shorten_list(changes), copy)
    return coco, copy


def _check_same_classes(json_file: str, other: str) -> None:
    names, other_names = class_names(json_file), class_names(other)
    if names != other_names:
        raise UserError(
            f"{json_file} has the classes {shorten_list(names, 20)}, but {other} has "
            f"{shorten_list(other_names, 20)}: give both files the same 'categories'."
        )
    suspicion = split_suspicion(json_file, other)
    if suspicion:
        logger.warning("%s: %s.", json_file, suspicion)


def _check_num_classes(title: str, count: int, num_classes: int | None) -> None:
    if num_classes is not None and count != num_classes:
        raise UserError(
            f"{title} has {count} classes, but the model is built for {num_classes}: set "
            f"model.roi_heads.num_classes={count}."
        )


def _check_available(name: str) -> None:
    """Refuse a name that is not registered, or whose files are not on disk."""
    known = DatasetCatalog.list()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)
        raise UserError(
            f"Dataset {name!r} is not known; the nearest names are {shorten_list(near)}: use one "
            "of them, or a custom COCO file as described in docs/guides/custom_data.md."
        )
    keys = ("json_file", "image_root", "image_dir", "gt_dir", "dirname")
    wanted = [MetadataCatalog.get(name).get(key, None) for key in keys]
    absent = [path for path in wanted if path and "://" not in path and not os.path.exists(path)]
    if absent:
        value = os.environ.get("DETECTRON2_DATASETS")
        default = os.path.abspath("datasets")
        state = f"is {value!r}" if value else f"is not set, so {default} is used"
        raise UserError(
            f"Dataset {name!r} is not on disk: looked for {shorten_list(absent)} "
            f"(DETECTRON2_DATASETS {state}): download it as described in datasets/README.md, or "
            f"start with `{command('train')} --config-file quickstart`."
        )


def _check_share(title: str, faults: dict[str, list], total: int, max_bad_share: float) -> None:
    count = sum(map(len, faults.values()))
    if count > max_bad_share * total:
        raise TooManyBad(
            f"{title}: {count} of {total} annotations cannot be used ({_listed(faults)}), more "
            f"than max_bad_share={max_bad_share} allows: correct them, raise max_bad_share, or, if "
            "masks are missing, train boxes alone with model.masks=false."
        )


def _listed(faults: Mapping[str, list]) -> str:
    return "; ".join(f"{fault}: {shorten_list(ids)}" for fault, ids in faults.items())


def _select_images(
    title: str,
    dicts: list[dict[str, Any]],
    faults: dict[str, list],
    image_root: str,
    filter_empty: bool,
    max_bad_share: float,
) -> list[dict[str, Any]]:
    """Find bad files and images without annotations, drop them if ``filter_empty``; log counts."""
    paths = [image["file_name"] for image in dicts]
    missing = dict.fromkeys(missing_files(paths, image_root), "file missing")
    bad = missing | unreadable_files([path for path in paths if path not in missing])
    if len(bad) > max_bad_share * len(dicts):
        listed = shorten_list((f"{path}: {reason}" for path, reason in bad.items()), limit=3)
        raise TooManyBad(
            f"{title}: {len(bad)} of {len(dicts)} images cannot be used ({listed}), more than "
            f"max_bad_share={max_bad_share} allows: repair them, or correct the path {image_root}."
        )
    kept, table = [], defaultdict(list)
    for image in dicts:  # a file may be listed under several ids
        path, annotations = image["file_name"], image.get("annotations", [])
        is_empty = all(entry.get("iscrowd") for entry in annotations)
        reason = bad.get(path) or ("no annotation to learn" if is_empty else None)
        if reason:
            verb = "dropped" if filter_empty else "kept"
            table[f"images {verb}: {reason}"].append(os.path.basename(path))
        if not (reason and filter_empty):
            kept.append(image)
    if filter_empty:
        table.update({f"annotations dropped: {fault}": ids for fault, ids in faults.items()})
    elif faults:
        logger.warning(
            "%s: %d test annotations are faulty (%s): metrics of boxes count them all the same, "
            "and those of masks leave out absent and broken masks; correct them.",
            *(title, sum(map(len, faults.values())), _listed(faults)),
            extra={"summary": True},
        )
    level = logging.WARNING if bad or (faults and filter_empty) else logging.INFO
    lines = [f"  {len(ids):>7}  {what} ({shorten_list(ids)})" for what, ids in table.items()]
    labels = [
        entry["category_id"]
        for image in kept
        for entry in image.get("annotations", [])
        if not entry.get("iscrowd")
    ]
    head = f"{title}: {len(kept)} of {len(dicts)} images are used"
    head += f", with {len(labels)} objects of {len(set(labels))} classes."
    logger.log(level, "\n".join([head, *lines]), extra={"summary": True})
    if bad and not filter_empty:
        logger.warning(
            "%s: with %d test images that cannot be read, each evaluation of a training is "
            "partial, so that it keeps no model_best.pth and ends with exit code 1: repair them, "
            "or take them out of the file.",
            *(title, len(bad)),
        )
    if not kept:
        raise UserError(
            f"{title}: none of the {len(dicts)} images has an annotation that can be used: "
            "annotate some."
        )
    return kept
