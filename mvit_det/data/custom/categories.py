"""Class names of a data set, also on a machine that does not have its data.

A dataset function has a `class_source`, which reads the classes from a config's node, so that the
data set is not instantiated.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mvit_det.data.class_labels import display_names, given_classes
from mvit_det.errors import UserError

# One class as in a COCO file: its "id" and "name", and the "folder" of its files if that is named
# otherwise. Lists have the order of the model's outputs.
Category = dict[str, Any]
Node = Mapping[str, Any]  # ``L(dataset)(...)`` of a config: its arguments, and "_target_"
Dataset = TypeVar("Dataset", bound=Callable)
MAX_ENTRIES = 1000
# What is read of the config.yaml of a run, besides its classes.
_NUM_CLASSES, _LABEL_MAP = "model.num_classes", "dataloader.test.dataset.label_map"


def class_source(
    categories: Callable[[Node], list[Category] | None],
) -> Callable[[Dataset], Dataset]:
    """Attach a function to a dataset function that gets the classes of its config nodes.

    Args:
        categories: maps a node to its classes, or to None if they are not known. A `UserError`
            counts as None, since absent data are not an error at this point.

    Returns:
        A decorator of dataset functions.
    """

    def attach(dataset: Dataset) -> Dataset:
        dataset.categories = categories  # type: ignore[attr-defined]  # of a function
        return dataset

    return attach


def dataset_categories(
    node: Node, default: Callable[[Node], list[Category] | None] = lambda node: None
) -> list[Category] | None:
    """Get the classes of a ``dataset=L(...)(...)`` node of a config without instantiating it.

    Args:
        node: the arguments of the dataset function, and "_target_".
        default: used if the dataset function has no `class_source`.

    Returns:
        The classes in the order of the model's outputs; None if they are not known.
    """
    while node.get("dataset"):  # `video_views` of another data set
        node = node["dataset"]
    target = node.get("_target_")
    target = get_object(target) if isinstance(target, str) else target
    with suppress(UserError):
        return getattr(target, "categories", default)(node)
    return None


def folder_categories(
    node: Node, source: str, folders: Callable[[Any], list[str]]
) -> list[Category]:
    """Get the classes of a node: its ``classes``, or else its class folders.

    Args:
        node: the arguments of a dataset function.
        source: name of its argument for the folder or list.
        folders: returns the classes of a folder or list.

    Raises:
        UserError: the data are not found, or cannot be read.
    """
    if node.get("classes") is not None:
        known, names = given_classes(node["classes"])
    else:
        known = folders(node.get("same_classes_as") or node[source])
        names = display_names(known)
    return numbered(names, known)


def numbered(names: Sequence[str], folders: Sequence[str] | None = None) -> list[Category]:
    """Convert class names to categories with the ids 1, 2, ..., in the same order.

    Args:
        names: of the classes.
        folders: where their files are; None: they are named as the classes.
    """
    return [
        {"id": number, "name": name}
        if name == folder
        else dict(id=number, name=name, folder=folder)
        for number, (name, folder) in enumerate(zip(names, folders or names), start=1)
    ]


def class_folders_of(categories: Sequence[Category]) -> list[str]:
    """Return the folders of classes, in the same order."""
    return [str(category.get("folder", category["name"])) for category in categories]


def categories_to_config(categories: list[Category]) -> list[Category] | str:
    """Convert classes to the value of the key ``categories`` of a config.

    More than 1000 classes with the ids 1, 2, ... become one text with a line per class, as in a
    file of classes: a config would take seconds to load and to copy as many entries.
    """
    names, folders = [category["name"] for category in categories], class_folders_of(categories)
    if len(names) <= MAX_ENTRIES or categories != numbered(names, folders):
        return categories
    return "\n".join(f"{f}\t{n}" if f != n else n for f, n in zip(folders, names))


def categories_from_config(cfg: DictConfig) -> list[Category] | None:
    """Convert the value of the key ``categories`` to classes; None if the key is absent."""
    stored = cfg.get("categories")
    if isinstance(stored, str):
        rows = [line.partition("\t") for line in stored.split("\n")]
        return numbered([name or folder for folder, _, name in rows], [row[0] for row in rows])
    return cast(list[Category], OmegaConf.to_container(stored, resolve=True)) if stored else None


def trained_config(cfg: DictConfig, resume: bool = False) -> DictConfig | None:
    """Find the config that names the classes of the weights that ``cfg`` starts from.

    Args:
        cfg: of any task.
        resume: True: the weights are those in ``train.output_dir``; False: those of
            ``train.init_checkpoint``.

    Returns:
        The config.yaml next to the weights, or else ``cfg`` itself, if it has ``categories``; None
        if neither has.
    """
    weights = str(OmegaConf.select(cfg, "train.init_checkpoint") or "")
    if resume:
        weights = os.path.join(
            str(OmegaConf.select(cfg, "train.output_dir") or ""), "last_checkpoint"
        )
    return run_of(weights) or (cfg if cfg.get("categories") else None)


def run_of(weights: str) -> DictConfig | None:
    """Read what the config.yaml next to weights says about classes; None if there is none."""
    saved = Path(weights).with_name("config.yaml") if os.path.isfile(weights) else None
    return _read_classes(saved) if saved and saved.is_file() else None


def _read_classes(path: Path) -> DictConfig | None:
    """Read what a config.yaml says about classes; None for a file of another program.

    Only values of the expected kinds are copied to the result, so that no alias or interpolation
    in the file is expanded.
    """
    try:
        with open(path, encoding="utf-8") as file:
            read = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        stored = read["categories"]
        if not isinstance(stored, str):
            keys = ("id", "name", "folder")
            stored = [{key: each[key] for key in keys if key in each} for each in stored]
            flat = all(isinstance(x, (str, int)) for each in stored for x in each.values())
            if not (stored and flat and all({"id", "name"} <= each.keys() for each in stored)):
                return None
        if "${" in str(stored):
            return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError):
        return None
    kept = OmegaConf.create({"categories": stored})
    for dotted, kind in ((_NUM_CLASSES, int), (_LABEL_MAP, str)):
        value: Any = read
        for key in dotted.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, kind) and "${" not in str(value):
            OmegaConf.update(kept, dotted, value, force_add=True)
    return kept
