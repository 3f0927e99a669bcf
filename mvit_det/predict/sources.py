"""Pictures and videos as one stream of frames."""

import glob
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.data.detection_utils import read_image

from mvit_det.data.decoding.stream import VideoError, VideoStream
from mvit_det.data.discovery import walk
from mvit_det.data.file_kinds import Skipped, is_image_name, is_video_name
from mvit_det.data.image_files import check_image_file
from mvit_det.errors import UserError, printable, some

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0  # for a video that does not tell its own


def playable(fps: float) -> float:
    """Frames per second, or the default where no video file can have so few or so many."""
    return fps if 0.01 <= fps <= 1000 else DEFAULT_FPS


class Unreadable(Exception):
    """Why a picture cannot be decoded."""


@dataclass(frozen=True)
class Frame:
    """One picture, or one frame of a video.

    Attributes:
        index: 0, 1, ... within the source.
        image: (H, W, 3) BGR.
        seconds: when it is shown, from the start of the file; None: of a picture.
    """

    source: "Picture | Video"
    index: int
    image: np.ndarray
    seconds: float | None = None


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

    def frames(self) -> Iterator[Frame]:
        """The picture."""
        try:
            check_image_file(str(self.path))
            image = read_image(str(self.path), format="BGR")
        except Exception as error:  # decoders fail in many ways
            raise Unreadable(str(error) or type(error).__name__) from error
        yield Frame(self, 0, np.ascontiguousarray(image))


class Video:
    """A video file that is decoded once, from its beginning to its end.

    Attributes:
        fps: frames per second.
        count: of frames, as the file says it, which may be wrong; 0 if it does not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fps, self.count = DEFAULT_FPS, 0
        with suppress(VideoError), closing(VideoStream(path)) as stream:
            self.fps, self.count = playable(stream.rate), stream.count

    def frames(self) -> Iterator[Frame]:
        """Each frame, upright. What a damaged file still has comes before the error."""
        with closing(VideoStream(self.path)) as stream:
            for index, (seconds, frame) in enumerate(stream.shown()):
                image = np.ascontiguousarray(stream.pixels(frame)[..., ::-1])
                yield Frame(self, index, image, seconds)


def find_sources(
    inputs: Sequence[str | os.PathLike], output: str | os.PathLike
) -> list[Picture | Video]:
    """Expand files, folders and glob patterns; each file counts once, in the order given.

    A folder gives the pictures and videos in it and in the folders below, by name; what is hidden
    (.name) is left out, and so is the folder ``output`` if it lies in there. Files of other kinds
    are counted in the log.
    """
    paths: dict[str, Path] = {}  # by what they resolve to
    skipped = Skipped()
    for given in map(os.fspath, inputs):
        # a file whose name looks like a pattern is meant itself
        pattern = glob.has_magic(given) and not os.path.exists(given)
        for name in sorted(glob.glob(given, recursive=True)) if pattern else [given]:
            path = Path(name)
            for file in _in_folder(path, Path(output), skipped) if path.is_dir() else [path]:
                # not Path.resolve, which fails on a link that leads to itself
                paths.setdefault(os.path.realpath(file), file)
        if not pattern and not os.path.exists(given):
            raise UserError(f"Input {printable(given)} does not exist (looked from {os.getcwd()}).")
    told = some(map(os.fspath, inputs))
    if str(skipped):
        logger.warning("%s: skipped %s.", told, skipped)
    if not paths:
        raise UserError(
            f"There is no picture or video in {told}; looked for .jpg, .png, .mp4 and the like."
        )
    return [Video(path) if is_video_name(path.name) else Picture(path) for path in paths.values()]


def _in_folder(folder: Path, output: Path, skipped: Skipped) -> list[Path]:
    root, kept_out = os.path.realpath(folder), os.path.realpath(output)
    if root == kept_out:
        raise UserError(
            f"--output {output} is an input folder: choose another one, so that results are not "
            "taken for inputs next time."
        )
    found = []
    for here, folders, files in walk(folder, ""):
        place = folder / here
        folders[:] = [name for name in folders if os.path.realpath(place / name) != kept_out]
        used = [name for name in files if is_image_name(name) or is_video_name(name)]
        skipped.add(set(files).difference(used))
        found += [place / name for name in used]
    return found


def stream(
    sources: Sequence[Picture | Video], on_fault: Callable[[Path, str], None]
) -> Iterator[Frame]:
    """All frames of all sources, one at a time; ``on_fault(path, reason)`` is told of bad ones."""
    for source in sources:
        try:
            yield from source.frames()
        except (Unreadable, VideoError) as error:
            on_fault(source.path, str(error))
