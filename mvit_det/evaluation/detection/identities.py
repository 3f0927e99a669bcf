"""Images and classes of predictions whose ids are not those of the annotation file.

``python -m mvit_det.predict`` numbers pictures 1, 2, ... and writes, beside the results, which file
and class each id stands for (images.json): they are found by name.
"""

import logging
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from mvit_det.coco_files import distinct_names, read_coco_json
from mvit_det.errors import UserError, shorten_list
from mvit_det.evaluation.detection.files import CocoTruth, Detections, parse_results
from mvit_det.files import read_json

logger = logging.getLogger(__name__)

COMPANION = "images.json"
_PLACEHOLDER = re.compile(r"class \d+")  # predict's names of classes that are not known


def read_results(path: str | os.PathLike, truth: CocoTruth) -> Detections:
    """Read the detections of a result file in COCO format, see `parse_results`.

    If predict's images.json is beside it, images and classes are those of the annotation file with
    the same names, whatever their ids. Results of other pictures are left out and counted in the
    log, and so are other classes. Frames of videos have no names, and keep their ids.

    Raises:
        UserError: a file is malformed, not one of the pictures or classes is in the annotation
            file, or a picture is there more than once.
    """
    results = read_json(path, "Result file")
    companion = Path(path).with_name(COMPANION)
    known = _written_by_predict(companion, truth)
    if known is None:
        return parse_results(results, truth, path)
    files, categories = known
    names = {entry["id"]: entry["name"] for entry in categories}
    images, classes = _images(files, truth, companion), _classes(categories, truth, companion)
    renumbered = [id_ for each in (images, classes) for id_, other in each.items() if id_ != other]
    absent = [file for id_, file in files.items() if id_ not in images]
    absent += [f"class {name}" for id_, name in names.items() if id_ not in classes]
    if renumbered or absent:
        logger.info(
            "%s: %d pictures are matched by name with %s, through %s; left out, since they are not "
            "in it: %s.",
            *(path, len(images), truth.json_file, COMPANION, shorten_list(absent, 3) or "none"),
        )
    indices = {id_: truth.image_index[images[id_]] if id_ in images else None for id_ in files}
    labels = {id_: truth.label[classes[id_]] if id_ in classes else None for id_ in names}
    return parse_results(results, truth, path, indices, labels)


class PictureNames:
    """Find pictures of a COCO file by path; names that differ by Unicode form only are equal.

    Args:
        names: (file_name, image id) of each picture; ids may repeat.
    """

    def __init__(self, names: Iterable[tuple[str, Any]]) -> None:
        self._by_name = defaultdict(list)
        for name, image_id in names:
            parts = _parts(name)
            self._by_name[parts[-1:]].append((parts, image_id))

    def ids(self, path: str | os.PathLike) -> list[Any]:
        """Return the ids of the longest file names that the path ends with; [] if there is none."""
        parts = _parts(path)
        fitting = [entry for entry in self._same(parts) if parts[-len(entry[0]) :] == entry[0]]
        longest = max((len(name) for name, _ in fitting), default=0)
        return [image_id for name, image_id in fitting if len(name) == longest]

    def ids_of_last_part(self, path: str | os.PathLike) -> list[Any]:
        """Return the ids of all pictures with the last part of the path, in whatever folder."""
        return [image_id for _, image_id in self._same(_parts(path))]

    def _same(self, parts: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
        return self._by_name.get(parts[-1:], [])


def _parts(path: str | os.PathLike) -> tuple[str, ...]:
    text = unicodedata.normalize("NFC", os.fspath(path)).replace("\\", "/")
    return PurePath(os.path.normpath(text)).parts


def _written_by_predict(
    companion: Path, truth: CocoTruth
) -> tuple[dict[Any, str], list[dict[str, Any]]] | None:
    """Return image id -> file, and the categories; None if there are no file names to match."""
    if not companion.is_file() or not any(truth.file_names):
        return None
    try:
        known = read_coco_json(companion)
    except UserError:  # another file of this name
        return None
    files = {image["id"]: image.get("file_name", "") for image in known["images"]}
    by_predict = all("annotated" in image for image in known["images"])
    is_video = len(set(files.values())) < len(files)
    return (files, known["categories"]) if by_predict and not is_video else None


def _images(files: Mapping[Any, str], truth: CocoTruth, companion: Path) -> dict[Any, Any]:
    """Return predicted id -> id of the annotation file, by the longest common end of the path."""
    names = PictureNames(zip(truth.file_names, truth.image_ids))
    annotated_images = {item["image_id"] for item in truth.objects}
    found, unclear = {}, []
    for id_, file in files.items():
        ids = names.ids(file)
        if len(ids) > 1:  # a picture may be listed again without its annotations
            ids = [each for each in ids if truth.image_index[each] in annotated_images] or ids[:1]
        if len(ids) > 1:
            unclear.append(f"{file} is {shorten_list(map(repr, ids))}")
        elif ids:
            found[id_] = ids[0]
    repeated = [each for each, count in Counter(found.values()).items() if count > 1]
    if unclear or repeated or not found:
        fault = f"it does not list any of the pictures ({shorten_list(files.values(), 2)})"
        if unclear:
            fault = f"a file name stands for several images ({shorten_list(unclear, 2)})"
        elif repeated:
            fault = f"several pictures are image {shorten_list(map(repr, repeated))}"
        raise UserError(
            f"The pictures of {companion} cannot be found by name in {truth.json_file}: {fault}; "
            "give the annotation file of these pictures, or predict with its ids."
        )
    return found


def _classes(
    categories: Sequence[Mapping[str, Any]], truth: CocoTruth, companion: Path
) -> dict[Any, Any]:
    """Return predicted category id -> category id of the annotation file, by name."""
    own = dict(zip(truth.names, truth.category_ids))
    names = {entry["id"]: name for entry, name in zip(categories, distinct_names(categories))}
    if all(_PLACEHOLDER.fullmatch(name) for name in names.values()):
        return {id_: id_ for id_ in names if id_ in truth.label}
    found = {id_: own[name] for id_, name in names.items() if name in own}
    if not found:
        raise UserError(
            f"{companion} has the classes {shorten_list(names.values(), 20)}, but "
            f"{truth.json_file} has {shorten_list(own, 20)}: give both the same names."
        )
    return found
