"""Class names of a data set, also on a machine that does not have its data.

A dataset function has a `class_source`, which reads the classes from a config's node, so that the
data set is not instantiated.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mvit_det.data.class_labels import display_names, given_classes
from mvit_det.errors import UserError

# One class as in a COCO file: its "id" and "name". Lists have the order of the model's outputs.
Category = dict[str, Any]
Node = Mapping[str, Any]  # ``L(dataset)(...)`` of a config: its arguments, and "_target_"
Dataset = TypeVar("Dataset", bound=Callable)
MAX_ENTRIES = 1000


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
        return numbered(given_classes(node["classes"])[1])
    return numbered(display_names(folders(node.get("same_classes_as") or node[source])))


def numbered(names: Sequence[str]) -> list[Category]:
    """Convert class names to categories with the ids 1, 2, ..., in the same order."""
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]


def categories_to_config(categories: list[Category]) -> list[Category] | str:
    """Convert classes to the value of the key ``categories`` of a config.

    More than 1000 classes with the ids 1, 2, ... become one text with a name per line: a config
    would take seconds to load and to copy as many entries.
    """
    names = [category["name"] for category in categories]
    if len(names) <= MAX_ENTRIES or categories != numbered(names):
        return categories
    return "\n".join(names)


def categories_from_config(cfg: DictConfig) -> list[Category] | None:
    """Convert the value of the key ``categories`` to classes; None if the key is absent."""
    stored = cfg.get("categories")
    if isinstance(stored, str):
        return numbered(stored.split("\n"))
    return cast(list[Category], OmegaConf.to_container(stored, resolve=True)) if stored else None
