"""The datasets folder, and paths relative to it or to the working directory."""

import os
from collections.abc import Sequence
from pathlib import Path

from mvit_det.errors import UserError

Paths = str | os.PathLike | Sequence[str | os.PathLike]


def datasets_root() -> Path:
    """Return the folder of all data sets: $DETECTRON2_DATASETS, or ./datasets if it is not set."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def resolve_path(path: str | os.PathLike, what: str = "Image folder") -> Path:
    """Resolve a path relative to the working directory, or else to the datasets folder.

    Args:
        path: of a file or folder; "~" is expanded.
        what: kind of file or folder, with which the message begins.

    Raises:
        UserError: the path does not exist in either place.
    """
    places = [Path(path).expanduser(), datasets_root() / path]
    for place in places:
        if place.exists():
            return place
    tried = " and ".join(str(place) for place in dict.fromkeys(map(Path.absolute, places)))
    raise UserError(
        f"{what} {path} does not exist (looked for {tried}): correct the path, or set "
        "DETECTRON2_DATASETS as described in datasets/README.md."
    )


def resolve_paths(paths: Paths, what: str) -> list[str]:
    """Resolve one or several paths as `resolve_path` does."""
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return [str(resolve_path(path, what)) for path in paths]
