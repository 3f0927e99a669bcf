"""Images and videos as one stream of frames."""

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
from mvit_det.errors import UserError, printable, shorten_list

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0  # for a video that does not specify it


def playable(fps: float) -> float:
    """Return ``fps``, or `DEFAULT_FPS` if no video file can have that frame rate."""
    return fps if 0.01 <= fps <= 1000 else DEFAULT_FPS


@dataclass(frozen=True)
class Frame:
    """An image, or one frame of a video.

    Attributes:
        source: the file it is from.
        index: frame index in the source, from 0 on.
        image: (H, W, 3) uint8, BGR.
        seconds: time from the start of the file; None for an image.
    """

    source: "Picture | Video"
    index: int
    image: np.ndarray
    seconds: float | None = None


class Picture:
    """An image file (its first image, if it has several).

    It is rotated by its EXIF orientation and converted to 8 bits and three channels as in training:
    gray becomes colour, transparency is dropped. More than 8 bits per channel are refused, since
    the file does not specify which value is white.
    """

    fps: float | None = None
    count = 1

    def __init__(self, path: Path) -> None:
        self.path = path

    def frames(self) -> Iterator[Frame]:
        """Yield the image; a `UserError` if it cannot be decoded."""
        try:
            check_image_file(str(self.path))
            image = read_image(str(self.path), format="BGR")
        except Exception as error:  # decoders fail in many ways
            raise UserError(str(error) or type(error).__name__) from error
        yield Frame(self, 0, np.ascontiguousarray(image))


class Video:
    """A video file, decoded once from start to end.

    Attributes:
        fps: frames per second.
        count: number of frames according to the file, which may be wrong; 0 if unknown.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fps, self.count = DEFAULT_FPS, 0
        with suppress(VideoError), closing(VideoStream(path)) as stream:
            self.fps, self.count = playable(stream.rate), stream.count

    def frames(self) -> Iterator[Frame]:
        """Yield each frame, rotated upright; the frames before a damaged part precede the error."""
        with closing(VideoStream(self.path)) as stream:
            for index, (seconds, frame) in enumerate(stream.decode_all()):
                image = np.ascontiguousarray(stream.pixels(frame)[..., ::-1])
                yield Frame(self, index, image, seconds)


def find_sources(
    inputs: Sequence[str | os.PathLike], output: str | os.PathLike
) -> list[Picture | Video]:
    """Expand files, folders and glob patterns; each file counts once, in the order given.

    A folder yields its pictures and videos, including subfolders, by name; hidden files (.name) and
    the folder ``output`` are skipped. Files of other kinds are counted in the log.

    Raises:
        UserError: an input does not exist, or there is no picture or video.
    """
    paths: dict[str, Path] = {}  # by resolved path
    skipped = Skipped()
    for given in map(os.fspath, inputs):
        # an existing file whose name looks like a pattern is not one
        pattern = glob.has_magic(given) and not os.path.exists(given)
        for name in sorted(glob.glob(given, recursive=True)) if pattern else [given]:
            path = Path(name)
            for file in _in_folder(path, Path(output), skipped) if path.is_dir() else [path]:
                # not Path.resolve, which fails on a link to itself
                paths.setdefault(os.path.realpath(file), file)
        if not pattern and not os.path.exists(given):
            raise UserError(f"Input {printable(given)} does not exist (looked from {os.getcwd()}).")
    told = shorten_list(map(os.fspath, inputs))
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
    """Yield all frames of all sources; call ``on_fault(path, reason)`` for bad ones."""
    for source in sources:
        try:
            yield from source.frames()
        except (UserError, VideoError) as error:
            on_fault(source.path, str(error))
