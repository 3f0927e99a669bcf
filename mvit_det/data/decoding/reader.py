"""Frames of videos by frame index: from a video file, or from a folder with a picture per frame."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import cast

import av
import numpy as np

from mvit_det.data.decoding.frame_names import frame_names
from mvit_det.data.decoding.index import index_of
from mvit_det.data.decoding.resizing import resized
from mvit_det.data.decoding.stream import VideoError, VideoStream
from mvit_det.data.image_files import open_picture

# Default of folders of frames: the rate at which Something-Something-v2 and AVA are unpacked.
FRAME_RATE = 30.0

Pixels = Callable[[av.VideoFrame], np.ndarray]  # RGB uint8 (H, W, 3)

__all__ = ["FrameFolder", "OpenVideo", "VideoError", "VideoFile", "open_video"]


class OpenVideo:
    """The frames of a video, in presentation order.

    Attributes:
        times: (N,) float64, ascending: the second at which each frame begins. 0 is where players
            start the file, so that the first frame may begin later than 0, after the sound.
        fps: average frames per second.
        end: second at which the last frame ends.
        fault: fault of the file as a whole, in a sentence; None: no known fault.
        key_frames: (K,) ascending indices of frames that are decoded without any other.
        lost: number of frames that the header, or the numbers in names, list and that are absent.
        turned: whether the last frame that was read is rotated or mirrored for display.
    """

    times: np.ndarray
    fps: float
    fault: str | None = None
    key_frames: np.ndarray
    lost: int = 0
    turned: bool = False

    def __len__(self) -> int:
        return len(self.times)

    @property
    def end(self) -> float:
        """Second at which the last frame ends."""
        return float(self.times[-1]) + 1 / self.fps

    def frames(self, indices: Iterable[int], short_side: int | None = None) -> np.ndarray:
        """Decode frames: RGB uint8 (len(indices), H, W, 3), in the order of ``indices``.

        Args:
            indices: of the frames.
            short_side: shorter side in pixels that frames are resized to, each as it is decoded,
                as in the released code (`mvit_det.data.decoding.resizing`); None: the stored size.

        Raises:
            VideoError: a frame cannot be decoded; the message names it.
            IndexError: an index is not within 0..N - 1.
        """
        indices = [int(index) for index in indices]
        outside = [index for index in indices if not 0 <= index < len(self)]
        if outside:
            raise IndexError(
                f"frame {outside[0]} of a video with {len(self)} frames (0 to {len(self) - 1})"
            )
        frames = self._read(sorted(set(indices)), short_side)
        return np.stack([frames[index] for index in indices])

    def _read(self, wanted: list[int], short_side: int | None) -> dict[int, np.ndarray]:
        """Decode the frames of distinct, ascending indices; returns {index: uint8 (H, W, 3)}."""
        raise NotImplementedError


@contextmanager
def open_video(path: str | os.PathLike, *, fps: float | None = None) -> Iterator[OpenVideo]:
    """Open a video file, or a folder of frames, as a context manager that closes it.

    Args:
        path: a video file or a folder of frames.
        fps: frames per second of a folder of frames; None: 30, the rate at which PySlowFast unpacks
            Something-Something-v2. Ignored for video files, which have their own rate.

    Raises:
        VideoError: there are no frames, or the file cannot be read. Its message is the reason,
            without the path.
        ValueError: fps is not above 0.
    """
    if fps is not None and not fps > 0:
        raise ValueError(f"fps={fps}: the frames per second of a folder of frames must be above 0")
    if os.path.isdir(path):
        yield FrameFolder(path, fps=FRAME_RATE if fps is None else fps)
        return
    video = VideoFile(path)
    try:
        yield video
    finally:
        video.close()


class VideoFile(OpenVideo):
    """A video file, of which only the requested frames are decoded.

    Frames are rotated by the display matrix of the file, which phones write. A truncated file has
    the frames before the cut. Opening reads all packets, but decodes nothing.

    Raises:
        VideoError: the file cannot be read as a video, or has no frames.
    """

    def __init__(self, path: str | os.PathLike):
        self._stream = VideoStream(path)
        try:
            self._index = index_of(self._stream)
        except BaseException:
            self._stream.close()
            raise
        self.times, self.fps = self._index.times, self._index.fps
        self.fault = self._stream.cut_off(self._index.start, self.end)
        keys = self._index.frames[self._index.keys]
        self.key_frames = np.sort(keys[keys >= 0])
        self.lost = max(0, self._stream.packets_by_header - len(self._index.frames))

    @property
    def end(self) -> float:
        """Second at which the last frame ends."""
        return self._index.end

    @property
    def turned(self) -> bool:  # type: ignore[override]  # read only
        """Whether the last frame that was read is rotated or mirrored for display."""
        return self._stream.turned

    def close(self) -> None:
        """Release the file."""
        self._stream.close()

    def _read(self, wanted: list[int], short_side: int | None) -> dict[int, np.ndarray]:
        frames: dict[int, np.ndarray] = {}
        pixels = partial(self._stream.pixels, short_side=short_side)
        for key, run in self._runs(wanted):
            frames.update(self._decode_from_key(key, set(run), run[-1], pixels))
        missing = [frame for frame in wanted if frame not in frames]
        if missing:
            frames.update(self._decode_from_start(missing, pixels))
        return frames

    def _decode_from_key(
        self, key: int, wanted: set[int], last: int, pixels: Pixels
    ) -> dict[int, np.ndarray]:
        """Decode from a key frame to the packet of frame ``last``; returns the intact frames."""
        frames: dict[int, np.ndarray] = {}
        refused: dict[int, str] = {}
        start = self._index.frames[self._index.keys[key]] if key >= 0 else -1
        whole = start < 0
        for picture in self._decode(key, last, refused, wanted):
            # In some files a "key" frame only begins to renew the picture, strip by strip ("intra
            # refresh"), and decoders return incomplete pictures.
            whole |= picture.pts == start and picture.key_frame
            if picture.pts in wanted and picture.pts not in refused and not picture.is_corrupt:
                frames[picture.pts] = pixels(picture)
        return frames if whole else {}

    def _runs(self, wanted: list[int]) -> list[tuple[int, list[int]]]:
        """Group frames in decoding order into runs, each with the key frame to seek to."""
        packets, keys = self._index.packets, self._index.keys
        ordered = sorted(wanted, key=packets.__getitem__)
        starts = [self._index.start_of(frame) for frame in ordered]
        # A later frame in the file may need an earlier key: all frames between then start there.
        earliest = np.minimum.accumulate(starts[::-1])[::-1]
        runs: list[tuple[int, list[int]]] = []
        for frame, key in zip(ordered, earliest.tolist()):
            if runs and (key < 0 or keys[key] <= packets[runs[-1][1][-1]]):
                runs[-1][1].append(frame)
            else:
                runs.append((key, [frame]))
        return runs

    def _decode(
        self, key: int, last: int, refused: dict[int, str], needed: set[int] | None = None
    ) -> Iterator[av.VideoFrame]:
        """Decode from a key frame to the packet of frame ``last``; ``pts`` is the frame index.

        Adds to ``refused``, with the reason, the frames that the decoder refuses and those after
        them up to the next key frame, which refer to lost frames. Frames that are not in
        ``needed`` may be skipped if no other frame refers to them; None: all are decoded.
        """
        end, fault = self._index.packets[last], None
        for number, packet in self._packets_from(key):
            frame = packet.pts = int(self._index.frames[number])
            fault = None if packet.is_keyframe else fault
            pictures = self._stream.decode(packet, needed is None or frame in needed)
            fault = self._stream.fault or fault
            if fault:
                refused[frame] = fault
            yield from pictures
            if number == end:
                break
        yield from self._stream.decode(None)

    def _packets_from(self, key: int) -> Iterator[tuple[int, av.Packet]]:
        """Yield packets with their numbers, starting at a key (-1: at the first packet)."""
        first, stamps = self._index.keys[key] if key >= 0 else 0, self._index.stamps
        packets, start = self._seek(key)
        for number, packet in enumerate(packets, start=start):
            if stamps is not None and (number == len(stamps) or packet.pts != stamps[number]):
                return  # differs from what was read on opening: no frame rather than a wrong one
            if number >= first:
                yield number, packet

    def _seek(self, key: int) -> tuple[Iterator[av.Packet], int]:
        """Seek to a key or an earlier one; returns the packets and the number of the first."""
        stream, index = self._stream, self._index
        if key >= 0 and index.stamps is not None and not (stream.at_start and index.keys[key] == 0):
            marks = index.stamps[index.keys]
            # Formats differ in which of a packet's two time stamps they seek by.
            mark = int(marks[key])
            for stamp in (mark, mark - index.delay):
                packets = stream.packets_at(stamp)
                landed = next(packets, None)
                if landed is not None and landed.is_keyframe:
                    (matches,) = np.nonzero(marks == landed.pts)
                    if len(matches) == 1 and matches[0] <= key:
                        return chain([landed], packets), int(index.keys[matches[0]])
        stream.restart()
        return stream.packets(), 0

    def _decode_from_start(self, missing: list[int], pixels: Pixels) -> dict[int, np.ndarray]:
        """Decode from the first packet the frames that decoding from a key frame did not give.

        A packet without a picture that the decoder accepts repeats the previous picture, as in a
        player.
        """
        refused: dict[int, str] = {}
        pictures: dict[int, av.VideoFrame] = {}
        last = max(missing, key=self._index.packets.__getitem__)
        for picture in self._decode(-1, last, refused):
            index = cast(int, picture.pts)
            if index >= 0:
                pictures.update((frame, picture) for frame in missing if frame >= index)
        for frame in missing:
            if frame in refused or frame not in pictures:
                reason = refused.get(frame, "its packet gives no picture")
                raise VideoError(f"frame {frame} of {len(self)} cannot be decoded: {reason}")
        return {frame: pixels(picture) for frame, picture in pictures.items()}


class FrameFolder(OpenVideo):
    """Frames of a video as pictures in a folder, in the order of the numbers in their names.

    A picture that is missing by these numbers does not change the times of the others. An unchanged
    folder is listed once per process.

    Args:
        folder: of the pictures.
        fps: frames per second, above 0.

    Raises:
        VideoError: the folder cannot be listed, or has no pictures.
    """

    def __init__(self, folder: str | os.PathLike, *, fps: float):
        self._folder = folder
        listed = frame_names(folder)
        self._names, self.times = listed.names, listed.indices / fps
        self.fps = fps
        self.key_frames, self.lost = np.arange(len(self)), sum(listed.gaps.values())

    def _read(self, wanted: list[int], short_side: int | None) -> dict[int, np.ndarray]:
        frames, sizes = {}, {}
        for index in wanted:
            picture = self._picture(index)
            sizes[picture.shape[:2]] = index
            frames[index] = resized(picture, short_side)
        if len(sizes) > 1:
            summary = " and ".join(f"{h}x{w} ({self._names[i]})" for (h, w), i in sizes.items())
            raise VideoError(f"its pictures differ in size: {summary}")
        return frames

    def _picture(self, index: int) -> np.ndarray:
        name = self._names[index]
        try:
            with open_picture(os.path.join(self._folder, name)) as image:
                return np.asarray(image.convert("RGB"))
        except Exception as error:  # decoders fail in many ways
            reason = str(error) or type(error).__name__
            raise VideoError(f"frame {index} ({name}) cannot be read: {reason}") from error
