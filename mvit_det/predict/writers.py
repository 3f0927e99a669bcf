"""What a prediction leaves: annotated pictures and videos, and JSON files of what was found."""

import errno
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

import av
import numpy as np
from PIL import Image

from mvit_det.data.custom.categories import Category
from mvit_det.errors import UserError
from mvit_det.files import atomic_file
from mvit_det.predict.sources import Frame
from mvit_det.tasks import Inference

_VIDEO_SUFFIX = ".mp4"
_QUALITY = {"flags": "+qscale", "global_quality": str(3 * 118)}  # 118 per step of FFmpeg's q
_TICKS = 60_000  # per second: a multiple of the usual frame rates, and below 65,536
_JPEG = (".jpg", ".jpeg")


def _save(picture: np.ndarray, path: Path) -> None:
    """Write a picture (BGR) whole or not at all."""
    if path.suffix.lower() in _JPEG:
        options = dict(format="JPEG", quality=95)
    else:
        options = dict(format="PNG")
    # NOTE: not straight into the file, since on a full disk Pillow may cut it short in silence.
    encoded = io.BytesIO()
    Image.fromarray(picture[:, :, ::-1]).save(encoded, **options)
    with atomic_file(path) as partial:
        partial.write_bytes(encoded.getvalue())


class VideoFile:
    """An annotated video while it is written, in MPEG-4: FFmpeg's own encoder is on every machine.

    By PyAV, since OpenCV neither writes the times of frames nor takes any file name.

    Args:
        fps: frames per second, for frames that do not tell when they are shown.
        size: (H, W) of its frames; an odd side is rounded up, as codecs need.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self.size = [2 * math.ceil(side / 2) for side in size]
        self._fps, self._count, self._first, self._last = fps, 0, 0.0, -1
        self._file = av.open(f"file:{path}", "w", format="mp4")
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._file.add_stream("mpeg4", rate=rate, options=_QUALITY)
        self._stream.height, self._stream.width = self.size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)

    def add(self, image: np.ndarray, seconds: float | None = None) -> None:
        """Append a frame, (H, W, 3) BGR, which is shown at this time."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        frame = frame.reformat(*self.size[::-1], "yuv420p")  # frames may change their size
        seconds = self._count / self._fps if seconds is None else seconds
        self._first = seconds if self._count == 0 else self._first
        self._count += 1
        frame.time_base = Fraction(1, _TICKS)
        frame.pts = self._last = max(round((seconds - self._first) * _TICKS), self._last + 1)
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file."""
        self._file.mux(self._stream.encode(None))
        self._file.close()


class Results:
    """Writes annotated pictures and videos, and ``predictions.json``; see `open_results`."""

    def __init__(
        self,
        folder: Path,
        predictions: TextIO,
        inference: Inference,
        categories: list[Category],
        inputs: Sequence[Path],
    ) -> None:
        self.folder = folder
        self.images: list[dict[str, Any]] = []
        self.pictures = self.videos = self.frames = self.rows = 0
        self.further: list[str] = []  # names of other files that were written to the folder
        self._predictions = predictions
        self._inference = inference
        self._categories = categories
        self._inputs = set(map(os.path.realpath, inputs))
        self._taken: set[str] = set()
        self._source: Any = None
        self._video: VideoFile | None = None
        self._file_name = ""

    def add(self, frame: Frame, result: Any) -> None:
        """Write one picture or frame; those of one video must come in a row."""
        self.show(frame, result)
        known = {}
        if frame.seconds is not None:
            known = dict(frame=frame.index, seconds=round(frame.seconds, 6))
        self.note(frame, result, **known)

    def show(self, frame: Frame, result: Any) -> None:
        """Annotate one picture or frame, and keep no more of it."""
        picture = self._inference.draw(frame.image, result, self._categories)
        is_video = frame.source.fps is not None
        if frame.source is not self._source:
            self.close_video()
            self._source = frame.source
            self._file_name = self._free_name(frame.source.path, is_video)
            if is_video:
                path = self.folder / self._file_name
                self._video = VideoFile(path, frame.source.fps, picture.shape[:2])
                self.videos += 1
        if is_video:
            self._video.add(picture, frame.seconds)
            self.frames += 1
        else:
            _save(picture, self.folder / self._file_name)
            self.pictures += 1

    def note(self, frame: Frame, result: Any, /, **known: Any) -> None:
        """Put what is `known` of the frame or video shown last, and its result, into the files."""
        height, width = frame.image.shape[:2]
        image = dict(
            id=len(self.images) + 1,
            file_name=str(frame.source.path),
            width=width,
            height=height,
            annotated=self._file_name,
            **known,
        )
        rows = self._inference.rows(result, image["id"], self._categories)
        lines = [json.dumps(row) for row in rows]
        if lines:
            start = ",\n" if self.rows else "\n"
            self._predictions.write(start + ",\n".join(lines))
        self.rows += len(lines)
        self.images.append(image)

    def close_video(self) -> None:
        """Finish the video, if one is open."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def _free_name(self, path: Path, is_video: bool) -> str:
        """A file name in the folder that is neither another result nor an input.

        JPEG files stay JPEG, other pictures become PNG.
        """
        suffix = path.suffix if path.suffix.lower() in _JPEG else ".png"
        suffix = _VIDEO_SUFFIX if is_video else suffix
        number, name = 1, path.stem + suffix
        # some file systems ignore case
        while name.lower() in self._taken or os.path.realpath(self.folder / name) in self._inputs:
            number += 1
            name = f"{path.stem}-{number}{suffix}"
        self._taken.add(name.lower())
        return name


@contextmanager
def open_results(
    folder: Path,
    inference: Inference,
    categories: list[Category],
    inputs: Sequence[Path],
) -> Iterator[Results]:
    """Give `Results` to write to, and finish its files at the end, also after an exception.

    ``folder`` then has the annotated files and two JSON files. ``predictions.json`` is a list: of a
    detector in COCO's result format; of a classifier {"image_id", "classes"} with "category_id",
    "name" and "score" of each of the best; of a classifier of clips one such entry per video or
    window, with its "start" and "end" in seconds; of an action detector one per box of a key frame,
    with "bbox" as in COCO, and "box_score" if somebody tells how sure it is. ``images.json`` has
    COCO's lists "images" and "categories", with the file of each image id, its number in a video
    ("frame", from 0, and "seconds"; an action detector has an image id for each key frame; a
    classifier of clips has one for a whole video, and the number of its "frames"), and the
    annotated file; so `pycocotools.coco.COCO` reads it and its loadRes the detections.
    ``predictions.json`` is written as results come, so that they are never all in memory.

    Args:
        inputs: files that must not be overwritten.
    """
    failure = None
    with _writing_to(folder), ExitStack() as stack:
        partial = stack.enter_context(atomic_file(folder / "predictions.json"))
        predictions = stack.enter_context(open(partial, "w"))
        results = Results(folder, predictions, inference, categories, inputs)
        predictions.write("[")
        try:
            yield results
        except BaseException as error:  # what is done is kept, whatever has ended the run
            failure = error
        results.close_video()
        predictions.write("\n]\n")
        with atomic_file(folder / "images.json") as companion:
            companion.write_text(json.dumps(dict(images=results.images, categories=categories)))
        predictions.flush()
    if failure is not None:
        with _writing_to(folder):
            raise failure


@contextmanager
def _writing_to(folder: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"Results cannot be written to {folder} ({error.strerror or error}): free some space, "
            "or choose another --output."
        ) from error


def make_folder(folder: Path) -> None:
    """Create an output folder, which must be writable."""
    with _writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission to write")
