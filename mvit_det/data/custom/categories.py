"""What the classes of a model are called, on a machine that need not have its data."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mvit_det.data.actions.datasets import action_clips
from mvit_det.data.actions.labels import action_names
from mvit_det.data.class_names import given_classes, shown_names
from mvit_det.data.classification.datasets import class_folders, image_classes
from mvit_det.data.detection.annotations import read_coco_json
from mvit_det.data.detection.crops import BACKGROUND
from mvit_det.data.synthetic.motion_clips import MOTIONS, motion_clips
from mvit_det.data.synthetic.moving_figures import ACTIONS, moving_figures
from mvit_det.data.synthetic.shape_crops import shape_classes
from mvit_det.data.synthetic.shapes import CLASSES, shapes_dataset
from mvit_det.data.video.datasets import video_class_folders, video_classes
from mvit_det.errors import UserError

# One class as in a COCO file: its "id" and "name". In a list they stand in the order of the model's
# outputs, 0, 1, ...
Category = dict[str, Any]
MAX_ENTRIES = 1000


def numbered(names: Sequence[str]) -> list[Category]:
    """Classes with the ids 1, 2, ..."""
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]


def given_categories(names: Sequence[str] | str | os.PathLike) -> list[Category]:
    """Classes that the user names.

    Args:
        names: the names themselves; or a text file with one per line; or a COCO file (.json), whose
            ids are taken as well.
    """
    if not isinstance(names, (str, os.PathLike)):
        return numbered(list(names))
    path = Path(names)
    if not path.is_file():
        raise UserError(f"The file of class names {path} does not exist: correct the path.")
    if path.suffix == ".json":
        return _from_coco_file(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"Class names cannot be read from {path} ({error}): write one name per line."
        ) from error
    return numbered([line.strip() for line in lines if line.strip()])


def categories_to_config(categories: list[Category]) -> list[Category] | str:
    """What to keep under the key ``categories`` of a config.

    Thousands of entries would take a config seconds to load, and again for each copy: where their
    ids are 1, 2, ... they become one text, a name per line.
    """
    names = [category["name"] for category in categories]
    if len(names) <= MAX_ENTRIES or categories != numbered(names):
        return categories
    return "\n".join(names)


def config_categories(cfg: DictConfig) -> list[Category] | None:
    """The key ``categories`` of a config, else what is known of its test data; None if nothing is.

    The data need not be there: the classes of COCO and of the generated shapes are known by
    themselves. Only for one's own data is the annotation file or folder read, if it exists.
    """
    stored = cfg.get("categories")
    if isinstance(stored, str):
        return numbered(stored.split("\n"))
    if stored:
        return OmegaConf.to_container(stored, resolve=True)
    return data_categories(cfg)


def data_categories(cfg: DictConfig) -> list[Category] | None:
    """What is known of the classes of the data that a config names; None if nothing is.

    A classifier has one class per output: where its test data have fewer, as ImageNet-1K has that a
    model of ImageNet-21K is tested on, those of its training data are meant. Of actions, a model has
    an output for more than those that are evaluated.
    """
    nodes = [OmegaConf.select(cfg, f"dataloader.{split}.dataset") for split in ("test", "train")]
    outputs = OmegaConf.select(cfg, "model.num_classes")
    if outputs is None or _target(nodes[0] or {}) is action_clips:
        return dataset_categories(nodes[0] or {})
    found = (dataset_categories(node) for node in nodes if node)
    return next((classes for classes in found if classes and len(classes) == outputs), None)


def dataset_categories(dataset: Mapping[str, Any]) -> list[Category] | None:
    """Classes of a ``dataset=L(...)(...)`` node of a config, which is not instantiated."""
    if dataset.get("dataset"):  # as an older config has with `video_views`
        return dataset_categories(dataset["dataset"])
    target = _target(dataset)
    if target is shapes_dataset:
        return numbered(CLASSES)
    if target is shape_classes:
        return numbered(sorted([*CLASSES, BACKGROUND]))  # folders, in their order
    if target is motion_clips:
        return numbered(sorted(MOTIONS))
    if target is moving_figures:
        return numbered(list(ACTIONS))
    if target is action_clips:
        return _from_actions(dataset)
    if target is image_classes:
        return _from_classes(dataset, "root", class_folders)
    if target is video_classes:
        return _from_classes(dataset, "source", video_class_folders)
    name = dataset.get("names")
    if name is not None:
        return _from_metadata(name if isinstance(name, str) else name[0])
    return _from_file_if_there(dataset.get("json_file"))


def _target(dataset: Mapping[str, Any]) -> Any:
    target = dataset.get("_target_")
    return get_object(target) if isinstance(target, str) else target


def _from_classes(
    dataset: Mapping[str, Any], source: str, folders: Callable[[Any], list[str]]
) -> list[Category] | None:
    with suppress(UserError):  # that the data are not here is no fault yet
        if dataset.get("classes") is not None:
            return numbered(given_classes(dataset["classes"])[1])
        return numbered(shown_names(folders(dataset.get("same_classes_as") or dataset[source])))
    return None


def _from_actions(dataset: Mapping[str, Any]) -> list[Category] | None:
    """The actions that are evaluated; their ids may have gaps, as those of AVA have."""
    with suppress(UserError):  # that the label map is not here is no fault yet
        names = action_names(dataset.get("label_map"), dataset.get("num_classes", 80))
        return [{"id": number, "name": name} for number, name in names.items()]
    return None


def _from_metadata(name: str) -> list[Category] | None:
    if name not in MetadataCatalog.list():
        return None
    metadata = MetadataCatalog.get(name)
    names = metadata.get("thing_classes", None)
    if names is None:
        return _from_file_if_there(metadata.get("json_file", None))
    contiguous = metadata.get("thing_dataset_id_to_contiguous_id", None)
    if contiguous is None:
        return numbered(names)
    ids = sorted(contiguous, key=contiguous.get)
    return [{"id": number, "name": name} for number, name in zip(ids, names)]


def _from_file_if_there(json_file: str | None) -> list[Category] | None:
    return _from_coco_file(json_file) if json_file and os.path.isfile(json_file) else None


def _from_coco_file(json_file: str | os.PathLike) -> list[Category]:
    entries = read_coco_json(json_file)["categories"]
    entries = sorted(entries, key=lambda entry: entry["id"])
    return [{"id": entry["id"], "name": entry["name"]} for entry in entries]
