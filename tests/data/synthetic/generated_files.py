"""Helper of the tests of all generated data sets."""

from pathlib import Path


def files_below(folder: Path) -> dict[str, bytes]:
    """Return {path relative to the folder: content} of all files below it."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
