"""Write annotated images and videos, and JSON files of the results."""

import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

import av
import numpy as np
from PIL import Image

from mvit_det.errors import UserError
from mvit_det.files import atomic_file
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.sources import Frame, Source

_VIDEO_SUFFIX = ".mp4"
_QUALITY = {"flags": "+qscale", "global_quality": str(3 * 118)}  # 118 per step of FFmpeg's q
_TICKS = 60_000  # per second: a multiple of the usual frame rates, and below 65,536
_JPEG = (".jpg", ".jpeg")


def _save(picture: np.ndarray, path: Path) -> None:
    """Write an image (H, W, 3) BGR completely or not at all."""
    kind = "JPEG" if path.suffix.lower() in _JPEG else "PNG"
    # NOTE: encode in memory, since on a full disk Pillow may truncate a file silently.
    encoded = io.BytesIO()
    Image.fromarray(picture[:, :, ::-1]).save(encoded, kind, quality=95)
    with atomic_file(path) as partial:
        partial.write_bytes(encoded.getvalue())


class AnnotatedVideo:
    """Writes an annotated video as MPEG-4, whose encoder every FFmpeg has.

    It uses PyAV, since OpenCV neither writes the times of frames nor accepts all file names.

    Args:
        path: path of the file.
        fps: nominal frames per second, for players.
        size: (H, W) of the frames; an odd side is rounded up, as codecs require.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self.size = [2 * math.ceil(side / 2) for side in size]
        self._first: float | None = None
        self._last = -1
        self._file = av.open(f"file:{path}", "w", format="mp4")
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._file.add_stream("mpeg4", rate=rate, options=_QUALITY)
        self._stream.height, self._stream.width = self.size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)

    def add(self, image: np.ndarray, seconds: float) -> None:
        """Append a frame (H, W, 3) uint8 BGR, displayed at ``seconds``."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        height, width = self.size
        frame = frame.reformat(width, height, "yuv420p")  # frames may differ in size
        self._first = seconds if self._first is None else self._first
        frame.time_base = Fraction(1, _TICKS)
        frame.pts = self._last = max(round((seconds - self._first) * _TICKS), self._last + 1)
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write the remaining frames and close the file."""
        self._file.mux(self._stream.encode(None))
        self._file.close()


class Results:
    """Writes annotated images and videos, and ``predictions.json``; see `open_results`."""

    def __init__(
        self, folder: Path, predictions: TextIO, predictor: Predictor, inputs: Sequence[Path]
    ) -> None:
        self.folder = folder
        self.images: list[dict[str, Any]] = []
        self.pictures = self.videos = self.frames = self.rows = 0
        self.image_ids: dict[Path, Any] = {}  # of all pictures, or none: 1, 2, ...
        self.csv_files: list[str] = []  # names of csv files written to the folder
        self._predictions = predictions
        self._predictor = predictor
        self._inputs = set(map(os.path.realpath, inputs))
        self._names: set[str] = set()  # in lower case
        self._source: Source | None = None
        self._video: AnnotatedVideo | None = None
        self._file_name = ""

    def add(self, frame: Frame, result: Any) -> None:
        """Draw and record one image or frame; the frames of a video must be consecutive calls."""
        self.draw(frame, result)
        entries = {}
        if frame.seconds is not None:
            entries = dict(frame=frame.index, seconds=round(frame.seconds, 6))
        self.record(frame, result, **entries)

    def draw(self, frame: Frame, result: Any) -> None:
        """Annotate one image or frame without recording its result."""
        predictor, source = self._predictor, frame.source
        picture = predictor.inference.draw(frame.image, result, predictor.categories)
        if source is not self._source:
            self.close_video()
            self._source = source
            self._file_name = self._free_name(source.path, source.fps is not None)
            if source.fps is not None:
                path = self.folder / self._file_name
                self._video = AnnotatedVideo(path, source.fps, picture.shape[:2])
                self.videos += 1
        if self._video is not None:
            assert frame.seconds is not None  # only images have no time
            self._video.add(picture, frame.seconds)
            self.frames += 1
        else:
            _save(picture, self.folder / self._file_name)
            self.pictures += 1

    def record(self, frame: Frame, result: Any, /, **entries: Any) -> None:
        """Record the result of the last image or video drawn; images.json gets ``entries`` too."""
        height, width = frame.image.shape[:2]
        image = dict(
            id=self.image_ids.get(frame.source.path, len(self.images) + 1),
            file_name=str(frame.source.path),
            width=width,
            height=height,
            annotated=self._file_name,
            **entries,
        )
        predictor = self._predictor
        rows = predictor.inference.rows(result, image["id"], predictor.categories)
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
        """Return a file name in the folder that is neither another result nor an input.

        JPEG files stay JPEG, other images become PNG.
        """
        suffix = path.suffix if path.suffix.lower() in _JPEG else ".png"
        suffix = _VIDEO_SUFFIX if is_video else suffix
        number, name = 1, path.stem + suffix
        # some file systems ignore case
        while name.lower() in self._names or os.path.realpath(self.folder / name) in self._inputs:
            number += 1
            name = f"{path.stem}-{number}{suffix}"
        self._names.add(name.lower())
        return name


@contextmanager
def open_results(folder: Path, predictor: Predictor, inputs: Sequence[Path]) -> Iterator[Results]:
    """Yield `Results` to write to, and complete its files at the end, even after an exception.

    ``folder`` then has the annotated files and two JSON files. ``predictions.json`` is a list: for
    a detector in COCO's result format; for a classifier of entries {"image_id", "classes"} with
    "category_id", "name" and "score" of each of the best classes; for a video classifier one entry
    of that form per video or window, with its "start" and "end" in seconds; for an action detector
    one entry per box of a key frame, with "bbox" as in COCO, and "box_score" if the box has one.

    ``images.json`` has COCO's lists "images" and "categories", with the file of each image id, its
    frame index in a video ("frame", from 0, and "seconds"; an action detector has an image id for
    each key frame, a video classifier one for a whole video, with the number of its "frames"), and
    the annotated file; so `pycocotools.coco.COCO` reads it and its loadRes the detections.

    ``predictions.json`` is written incrementally, so that the results are never all in memory.

    Args:
        folder: an existing folder, see `make_folder`.
        predictor: makes the results.
        inputs: files that must not be overwritten.

    Raises:
        UserError: the folder cannot be written to.
    """
    failure = None
    with _writing_to(folder), ExitStack() as stack:
        partial = stack.enter_context(atomic_file(folder / "predictions.json"))
        predictions = stack.enter_context(open(partial, "w", encoding="utf-8"))
        results = Results(folder, predictions, predictor, inputs)
        predictions.write("[")
        try:
            yield results
        except BaseException as error:  # keep the results, whatever ended the run
            failure = error
        results.close_video()
        predictions.write("\n]\n")
        with atomic_file(folder / "images.json") as companion:
            content = dict(images=results.images, categories=predictor.categories)
            companion.write_text(json.dumps(content), "utf-8")
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
    """Create an output folder.

    Raises:
        UserError: it is not writable.
    """
    with _writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
