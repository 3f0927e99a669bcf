"""Images and videos as one stream of frames."""

import glob
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvit_det.data.decoding.stream import VideoError, VideoStream
from mvit_det.data.discovery import walk
from mvit_det.data.file_kinds import Skipped, is_image_name, is_video_name
from mvit_det.data.image_files import PictureFormat, check_image_file, current_pictures
from mvit_det.errors import UserError, printable, shorten_list

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0  # for a video that does not specify it


def valid_fps(fps: float) -> float:
    """Return ``fps``, or `DEFAULT_FPS` if no video file can have that frame rate."""
    return fps if 0.01 <= fps <= 1000 else DEFAULT_FPS


@dataclass(eq=False)
class Source:
    """Where frames are from: an image or video file, or a folder of frames.

    Attributes:
        path: path of the file or folder.
        fps: frames per second; None for an image.
    """

    path: Path
    fps: float | None


@dataclass(frozen=True)
class Frame:
    """An image, or one frame of a video.

    Attributes:
        source: file or folder it is from.
        index: frame index in the source, at least 0.
        image: (H, W, 3) uint8, BGR.
        seconds: time from the start of the file; None for an image.
    """

    source: Source
    index: int
    image: np.ndarray
    seconds: float | None = None


class Picture(Source):
    """An image file (its first image, if it has several).

    It is rotated by its EXIF orientation and converted to 8 bits and three channels as in training:
    gray becomes colour, transparency is dropped; see `PictureFormat` for more than 8 bits.
    """

    count = 1

    def __init__(self, path: Path, pictures: PictureFormat | None = None) -> None:
        super().__init__(path, fps=None)
        self._pictures = pictures

    def frames(self) -> Iterator[Frame]:
        """Yield the image.

        Raises:
            UserError: it cannot be decoded.
        """
        try:
            pictures = self._pictures or current_pictures()
            check_image_file(str(self.path), pictures)
            image = pictures.read(str(self.path), "BGR")
        except Exception as error:  # decoders fail in many ways
            raise UserError(str(error) or type(error).__name__) from error
        yield Frame(self, 0, np.ascontiguousarray(image))


class Video(Source):
    """A video file, decoded once from start to end.

    Attributes:
        count: number of frames according to the file, which may be wrong; 0 if unknown.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, DEFAULT_FPS)
        self.count = 0
        with suppress(VideoError), closing(VideoStream(path)) as stream:
            self.fps, self.count = valid_fps(stream.rate), stream.count

    def frames(self) -> Iterator[Frame]:
        """Yield each frame, rotated upright, up to a damaged part.

        Raises:
            VideoError: the rest cannot be decoded; raised after the frames before it.
        """
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
        UserError: an input does not exist, or none is a picture or video.
    """
    paths: dict[str, Path] = {}  # by resolved path
    skipped = Skipped()
    words = [os.fspath(word) for word in inputs]
    for word in words:
        # an existing file whose name looks like a pattern is not one
        pattern = glob.has_magic(word) and not os.path.exists(word)
        for name in sorted(glob.glob(word, recursive=True)) if pattern else [word]:
            path = Path(name)
            for file in _list_folder(path, Path(output), skipped) if path.is_dir() else [path]:
                # not Path.resolve, which fails on a link to itself
                paths.setdefault(os.path.realpath(file), file)
        if not pattern and not os.path.exists(word):
            raise UserError(f"Input {printable(word)} does not exist (looked from {os.getcwd()}).")
    listed = shorten_list(words)
    if str(skipped):
        logger.warning("%s: skipped %s.", listed, skipped)
    if not paths:
        raise UserError(
            f"There is no picture or video in {listed}: give files such as .jpg, .png or .mp4, or "
            "folders of them."
        )
    return [Video(path) if is_video_name(path.name) else Picture(path) for path in paths.values()]


def _list_folder(folder: Path, output: Path, skipped: Skipped) -> list[Path]:
    excluded = os.path.realpath(output)
    if os.path.realpath(folder) == excluded:
        raise UserError(
            f"--output {output} is an input folder: choose another one, so that results are not "
            "used as inputs next time."
        )
    paths = []
    for relative, folders, files in walk(folder, ""):
        parent = folder / relative
        folders[:] = [name for name in folders if os.path.realpath(parent / name) != excluded]
        used = [name for name in files if is_image_name(name) or is_video_name(name)]
        skipped.add(set(files).difference(used))
        paths += [parent / name for name in used]
    return paths


def iterate_frames(
    sources: Sequence[Picture | Video], on_fault: Callable[[Path, str], None]
) -> Iterator[Frame]:
    """Yield all frames of all sources; call ``on_fault(path, reason)`` for unreadable ones."""
    for source in sources:
        try:
            yield from source.frames()
        except (UserError, VideoError) as error:
            on_fault(source.path, str(error))
