"""Files of results that are there whole or not at all."""

from pathlib import Path

from mvit_det.errors import UserError
from mvit_det.files import atomic_file


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that at no time a part of it stands under its name; its folder is made."""
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error}): free some space or choose another folder."
        ) from error
