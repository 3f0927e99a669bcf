"""Tiny image sets of three classes, as folders and as tar files."""

import io
import tarfile
from pathlib import Path

from PIL import Image


def jpeg(colour: int) -> bytes:
    """Encode a small grey picture."""
    content = io.BytesIO()
    Image.new("RGB", (20, 16), (colour, colour, colour)).save(content, "jpeg")
    return content.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """Write a tar file with these members, {name: content}."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


# {class folder/file: content} of three classes with 3, 2 and 1 pictures.
PICTURES = {
    "cat/a.jpg": jpeg(10),
    "cat/b.JPEG": jpeg(20),
    "cat/deep/er/c.png": jpeg(30),
    "dog/a.jpg": jpeg(40),
    "dog/d.webp": jpeg(50),
    "eel/e.jpg": jpeg(60),
}
LABELS = [0, 0, 0, 1, 1, 2]


def write_folders(root: Path, pictures: dict[str, bytes] = PICTURES) -> Path:
    """Write pictures as files below ``root``."""
    for name, content in pictures.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root
