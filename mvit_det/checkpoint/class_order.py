"""The class names of converted classifiers: a weight file itself has only their order."""

import re
from pathlib import Path

import yaml

from mvit_det.checkpoint.weights import Weights
from mvit_det.errors import UserError
from mvit_det.files import atomic_file


def class_names(weights: Weights) -> list[str]:
    """Read the class names of a classifier from the config.yaml of its run, next to the file.

    Returns:
        The names in the order of the outputs; [] if they are not there, or are of other classes.
    """
    config = Path(weights.path).with_name("config.yaml")
    try:
        text = config.read_text(encoding="utf-8")
        # Only this key: the others may name objects, which nothing here is to build.
        part = re.search(r"^categories:.*\n(?:[ -].*\n|\n)*", text, re.MULTILINE)
        categories = yaml.safe_load(part[0])["categories"] if part else []
        names = (
            categories.split("\n")
            if isinstance(categories, str)
            else [str(category["name"]) for category in categories]
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, LookupError):
        return []
    return names if weights.layout and len(names) == weights.layout.classes else []


def write_class_names(names: list[str], path: str | Path, overwrite: bool = False) -> Path:
    """Write class names, one per line in the order of the outputs, next to a weight file.

    Args:
        names: of all classes.
        path: the weight file; "FOLDER/NAME.pth" gives "FOLDER/NAME.classes.txt".
        overwrite: whether the file of the names may exist.

    Returns:
        The path of the file.

    Raises:
        UserError: the file exists, or cannot be written.
    """
    path = Path(path).with_suffix(".classes.txt")
    if path.exists() and not overwrite:
        raise UserError(f"{path}, for the class names, exists: add --overwrite to replace it.")
    try:
        with atomic_file(path) as partial:
            partial.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): free space, or choose another folder."
        ) from error
    return path


def describe_class_order(weights: Weights, names: list[str], target: str) -> str:
    """Warn that a code base may number the classes otherwise than these weights do.

    Args:
        weights: of a classifier; those without classes have no order.
        names: from `class_names`.
        target: key of ``FORMATS``; timm's data have the natural order of folder names.

    Returns:
        One line; "" if there is nothing to say.
    """
    has_classes = weights.layout is not None and weights.layout.classes > 0
    if target != "timm" or not has_classes or (names and names == sorted(names, key=_natural)):
        return ""
    if names:
        return (
            "Class order: not the natural order of the names, in which timm numbers class folders: "
            "give timm the folder names in this order with --class-map."
        )
    return (
        "Class order: that of the training, whose config.yaml is not next to the file; timm "
        "numbers class folders in the natural order of their names, so compare before you rely on "
        "its labels, and give timm a --class-map if they differ."
    )


def _natural(name: str) -> list[str | int]:
    """Return timm's key for the order of class folders: parts of digits count as numbers."""
    return [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", name.lower())]
