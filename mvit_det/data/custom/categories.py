"""What the classes of a data set are called, on a machine that need not have its data.

A dataset function carries the answer itself (`class_source`), so that a config's node is asked, and
nothing is instantiated.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mvit_det.data.class_names import given_classes, shown_names
from mvit_det.errors import UserError

# One class as in a COCO file: its "id" and "name". In a list they stand in the order of the model's
# outputs, 0, 1, ...
Category = dict[str, Any]
Node = Mapping[str, Any]  # ``L(dataset)(...)`` of a config: its arguments, and "_target_"
Dataset = TypeVar("Dataset", bound=Callable)
MAX_ENTRIES = 1000


def class_source(
    categories: Callable[[Node], list[Category] | None],
) -> Callable[[Dataset], Dataset]:
    """Attach to a dataset function what tells the classes of a node of it, or None.

    ``categories`` may raise `UserError`, which counts as None: that the data are not here is no fault
    yet.
    """

    def attach(dataset: Dataset) -> Dataset:
        dataset.categories = categories
        return dataset

    return attach


def dataset_categories(
    node: Node, default: Callable[[Node], list[Category] | None] = lambda node: None
) -> list[Category] | None:
    """Classes of a ``dataset=L(...)(...)`` node of a config, which is not instantiated.

    Args:
        default: is asked where the dataset function has no `class_source`.
    """
    while node.get("dataset"):  # of whose videos views are made
        node = node["dataset"]
    target = node.get("_target_")
    target = get_object(target) if isinstance(target, str) else target
    with suppress(UserError):
        return getattr(target, "categories", default)(node)
    return None


def folder_categories(
    node: Node, source: str, folders: Callable[[Any], list[str]]
) -> list[Category]:
    """Classes of a node with ``classes``, or else with folders.

    Args:
        source: its argument for the folder.
        folders: the classes of one.
    """
    if node.get("classes") is not None:
        return numbered(given_classes(node["classes"])[1])
    return numbered(shown_names(folders(node.get("same_classes_as") or node[source])))


def numbered(names: Sequence[str]) -> list[Category]:
    """Classes with the ids 1, 2, ..."""
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]


def categories_to_config(categories: list[Category]) -> list[Category] | str:
    """What to keep under the key ``categories`` of a config.

    Thousands of entries would take a config seconds to load, and again for each copy: where their
    ids are 1, 2, ... they become one text, a name per line.
    """
    names = [category["name"] for category in categories]
    if len(names) <= MAX_ENTRIES or categories != numbered(names):
        return categories
    return "\n".join(names)


def categories_from_config(cfg: DictConfig) -> list[Category] | None:
    """The key ``categories`` of a config, as `categories_to_config` made it; None without it."""
    stored = cfg.get("categories")
    if isinstance(stored, str):
        return numbered(stored.split("\n"))
    return OmegaConf.to_container(stored, resolve=True) if stored else None
