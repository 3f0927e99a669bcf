"""Pictures and videos as one stream of frames."""

import glob
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from detectron2.data.detection_utils import read_image

from mvit_det.data.image_files import check_image_file
from mvit_det.errors import UserError, printable, some

logger = logging.getLogger(__name__)

# By these a folder is searched, and a video is told from a picture.
PICTURES = set(".jpg .jpeg .png .bmp .webp .tif .tiff .gif .ppm .pgm .jp2".split())
VIDEOS = set(".mp4 .avi .mov .mkv .webm .m4v .mpg .mpeg .wmv .flv .mts .m2ts .ogv .3gp".split())

DEFAULT_FPS = 25.0  # for a video that does not tell its own


def playable(fps: float) -> float:
    """Frames per second, or the default where no video file can have so few or so many."""
    return fps if 0.01 <= fps <= 1000 else DEFAULT_FPS


class Unreadable(Exception):
    """Why an input cannot be decoded, or not to its end."""


class Picture:
    """A file with one picture (the first, where it has several).

    It is turned upright by its EXIF orientation and brought to 8 bits and three channels as in
    training: gray becomes colour, transparency is dropped; more than 8 bits per channel are
    refused, since the file does not tell which value is white.
    """

    fps: float | None = None
    count = 1

    def __init__(self, path: Path) -> None:
        self.path = path

    def frames(self) -> Iterator[np.ndarray]:
        """The picture, (H, W, 3) BGR."""
        try:
            check_image_file(str(self.path))
            image = read_image(str(self.path), format="BGR")
        except Exception as error:  # decoders fail in many ways
            raise Unreadable(str(error) or type(error).__name__) from error
        yield np.ascontiguousarray(image)


class Video:
    """A video that is decoded frame by frame.

    Attributes:
        fps: frames per second.
        count: of frames, as the file says it, which may be wrong; 0 if it does not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if printable(path) != str(path):  # at which OpenCV crashes
            raise UserError(f"Input {printable(path)} has a name that is not UTF-8: rename it.")
        video = cv2.VideoCapture(str(path))
        fps, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
        video.release()
        self.fps = playable(fps)
        self.count = max(0, int(count))

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame, (H, W, 3) BGR, upright."""
        video = cv2.VideoCapture(str(self.path))
        decoded = 0
        try:
            while True:
                there, image = video.read()
                if not there:
                    break
                decoded += 1
                yield image
        finally:
            video.release()
        if not decoded:
            raise Unreadable("no frame can be decoded (damaged, or a codec that OpenCV lacks?)")
        # the number in the file is an estimate in some formats
        if decoded < 0.95 * self.count:
            raise Unreadable(f"it ended after {decoded} of {self.count} frames (damaged?)")


@dataclass(frozen=True)
class Frame:
    """One picture, or one frame of a video.

    Attributes:
        index: 0, 1, ... within the source.
        image: (H, W, 3) BGR.
    """

    source: Picture | Video
    index: int
    image: np.ndarray


def find_sources(
    inputs: Sequence[str | os.PathLike], output: str | os.PathLike
) -> list[Picture | Video]:
    """Expand files, folders and glob patterns; each file counts once, in the order given.

    A folder gives the pictures and videos in it and in the folders below, by name; what is hidden
    (.name) is left out, and so is the folder ``output`` if it lies in there.
    """
    paths: dict[str, Path] = {}  # by what they resolve to
    for given in map(os.fspath, inputs):
        # a file whose name looks like a pattern is meant itself
        pattern = glob.has_magic(given) and not os.path.exists(given)
        for name in sorted(glob.glob(given, recursive=True)) if pattern else [given]:
            path = Path(name)
            for file in _in_folder(path, Path(output)) if path.is_dir() else [path]:
                # not Path.resolve, which fails on a link that leads to itself
                paths.setdefault(os.path.realpath(file), file)
        if not pattern and not os.path.exists(given):
            raise UserError(f"Input {given} does not exist (looked from {os.getcwd()}).")
    if not paths:
        raise UserError(
            f"There is no picture or video in {some(map(os.fspath, inputs))}; looked for "
            f"{' '.join(sorted(PICTURES))} {' '.join(sorted(VIDEOS))}."
        )
    return [Video(p) if p.suffix.lower() in VIDEOS else Picture(p) for p in paths.values()]


def _in_folder(folder: Path, output: Path) -> list[Path]:
    root, kept_out = os.path.realpath(folder), os.path.realpath(output)
    if root == kept_out:
        raise UserError(
            f"--output {output} is an input folder: choose another one, so that results are not "
            "taken for inputs next time."
        )
    found = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and os.path.realpath(here / name) != kept_out
        ]
        found += [
            here / name
            for name in sorted(files)
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURES | VIDEOS
        ]
    return found


def stream(
    sources: Sequence[Picture | Video], on_fault: Callable[[Path, str], None]
) -> Iterator[Frame]:
    """All frames of all sources, one at a time; ``on_fault(path, reason)`` is told of bad ones."""
    for source in sources:
        try:
            for index, image in enumerate(source.frames()):
                yield Frame(source, index, image)
        except Unreadable as error:
            on_fault(source.path, str(error))
