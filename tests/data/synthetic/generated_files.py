"""What the tests of all generated data sets compare."""

from pathlib import Path


def files_below(folder: Path) -> dict[str, bytes]:
    """The content of each file by its path in the folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
