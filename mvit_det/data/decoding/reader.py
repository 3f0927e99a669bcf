"""Frames of videos by frame index: out of a video file, or a folder with a picture per frame."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import av
import numpy as np

from mvit_det.data.decoding.frame_names import frame_names
from mvit_det.data.decoding.index import index_of
from mvit_det.data.decoding.stream import VideoError, VideoStream
from mvit_det.data.image_files import open_picture

# Per second, of frames that do not tell: Something-Something-v2 and AVA are unpacked at it.
FRAME_RATE = 30.0

__all__ = ["FrameFolder", "OpenVideo", "VideoError", "VideoFile", "open_video"]


class OpenVideo:
    """The frames of a video, in the order of showing.

    Attributes:
        times: (N,) float64, ascending: the second at which each frame begins. 0 is where players
            start a file, so that pictures may begin after its sound.
        fps: average frames per second.
        end: the second at which the last frame ends.
        fault: what is wrong with the file as a whole, in a sentence; None: nothing that is known.
    """

    times: np.ndarray
    fps: float
    fault: str | None = None

    def __len__(self) -> int:
        return len(self.times)

    @property
    def end(self) -> float:
        """See above."""
        return float(self.times[-1]) + 1 / self.fps

    def frames(self, indices: Iterable[int]) -> np.ndarray:
        """Decode frames: uint8 (len(indices), H, W, 3), RGB, in the order asked for.

        Raises:
            VideoError: one of them cannot be decoded; it says which.
            IndexError: there is no frame of that index.
        """
        indices = [int(index) for index in indices]
        strays = [index for index in indices if not 0 <= index < len(self)]
        if strays:
            raise IndexError(
                f"frame {strays[0]} of a video with {len(self)} frames (0 to {len(self) - 1})"
            )
        found = self._read(sorted(set(indices)))
        return np.stack([found[index] for index in indices])

    def _read(self, wanted: list[int]) -> dict[int, np.ndarray]:
        """The frames of different indices, in ascending order, by index."""
        raise NotImplementedError


@contextmanager
def open_video(path: str | os.PathLike, *, fps: float | None = None) -> Iterator[OpenVideo]:
    """Open a video file, or a folder of frames, for the length of a ``with`` block.

    Args:
        fps: frames per second of a folder of frames, which does not tell; 30 if not given, the rate
            at which Something-Something-v2 is unpacked for PySlowFast. A video file has its own.

    Raises:
        VideoError: there are no frames to be had. Its message is the reason, without the path.
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
    """A video file, of which only the frames asked for are decoded.

    They are turned upright as its display matrix says (phones film that way). A file that is cut off
    has the frames that are left. For ``times`` nothing is decoded.
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

    @property
    def end(self) -> float:
        """See `OpenVideo`."""
        return self._index.end

    def close(self) -> None:
        """Release the file."""
        self._stream.close()

    def _read(self, wanted: list[int]) -> dict[int, np.ndarray]:
        found: dict[int, np.ndarray] = {}
        for key, run in self._runs(wanted):
            found.update(self._from_a_key(key, set(run), run[-1]))
        missing = [frame for frame in wanted if frame not in found]
        if missing:
            found.update(self._from_the_first(missing))
        return found

    def _from_a_key(self, key: int, wanted: set[int], last: int) -> dict[int, np.ndarray]:
        """Those frames that decoding from a key to the packet of frame ``last`` gives whole."""
        found: dict[int, np.ndarray] = {}
        refused: dict[int, str] = {}
        start = self._index.frames[self._index.keys[key]] if key >= 0 else -1
        whole = start < 0
        for picture in self._decoded(key, last, refused, wanted):
            # In some files a "key" only begins to renew the picture, strip by strip ("intra
            # refresh"), and decoders give out what is half of nothing.
            whole |= picture.pts == start and picture.key_frame
            if picture.pts in wanted and picture.pts not in refused and not picture.is_corrupt:
                found[picture.pts] = self._stream.pixels(picture)
        return found if whole else {}

    def _runs(self, wanted: list[int]) -> list[tuple[int, list[int]]]:
        """Frames in the order of decoding, in groups, each with the key to seek and start from."""
        packets, keys = self._index.packets, self._index.keys
        ordered = sorted(wanted, key=packets.__getitem__)
        starts = [self._index.start_of(frame) for frame in ordered]
        # What comes later in the file may need an earlier key: then all between starts from there.
        starts = np.minimum.accumulate(starts[::-1])[::-1]
        runs: list[tuple[int, list[int]]] = []
        for frame, key in zip(ordered, starts.tolist()):
            if runs and (key < 0 or keys[key] <= packets[runs[-1][1][-1]]):
                runs[-1][1].append(frame)
            else:
                runs.append((key, [frame]))
        return runs

    def _decoded(
        self, key: int, last: int, refused: dict[int, str], needed: set[int] | None = None
    ) -> Iterator[av.VideoFrame]:
        """Pictures from a key to the packet of frame ``last``; their ``pts`` is the frame's number.

        Args:
            refused: takes the frames that the decoder refuses, and what comes after one up to the
                next key frame, since it refers to what is lost; with the reason.
            needed: other frames may be left out if none refers to them; None: all are given.
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
        """Packets with their numbers from a key on (-1: from the first packet)."""
        first, stamps = self._index.keys[key] if key >= 0 else 0, self._index.stamps
        packets, number = self._sought(key)
        for number, packet in enumerate(packets, start=number):
            if stamps is not None and (number == len(stamps) or packet.pts != stamps[number]):
                return  # not what was read on opening: better none than a wrong frame
            if number >= first:
                yield number, packet

    def _sought(self, key: int) -> tuple[Iterator[av.Packet], int]:
        """Packets from a key or an earlier one on, and the number of the first."""
        stream, index = self._stream, self._index
        if key >= 0 and index.stamps is not None and not (stream.at_start and index.keys[key] == 0):
            marks = index.stamps[index.keys]
            # Formats differ in which of a packet's two time stamps they look for.
            mark = int(marks[key])
            for stamp in (mark, mark - index.delay):
                packets = stream.packets_at(stamp)
                landed = next(packets, None)
                if landed is not None and landed.is_keyframe:
                    (found,) = np.nonzero(marks == landed.pts)
                    if len(found) == 1 and found[0] <= key:
                        return chain([landed], packets), int(index.keys[found[0]])
        stream.restart()
        return stream.packets(), 0

    def _from_the_first(self, missing: list[int]) -> dict[int, np.ndarray]:
        """Frames that decoding from a key did not give, by decoding everything up to the last.

        A frame without a picture that the decoder does not mind shows the picture before it, as a
        player does: some packets only say so.
        """
        refused: dict[int, str] = {}
        shown: dict[int, av.VideoFrame] = {}
        last = max(missing, key=self._index.packets.__getitem__)
        for picture in self._decoded(-1, last, refused):
            if picture.pts >= 0:
                shown.update((frame, picture) for frame in missing if frame >= picture.pts)
        for frame in missing:
            if frame in refused or frame not in shown:
                reason = refused.get(frame, "its packet gives no picture")
                raise VideoError(f"frame {frame} of {len(self)} cannot be decoded: {reason}")
        return {frame: self._stream.pixels(picture) for frame, picture in shown.items()}


class FrameFolder(OpenVideo):
    """The frames of a video as pictures in a folder, in the order of the numbers in their names.

    A missing one, as the numbers tell, leaves the times of the others as they are. An unchanged
    folder is listed once in a process.
    """

    def __init__(self, folder: str | os.PathLike, *, fps: float):
        self._folder = folder
        found = frame_names(folder)
        self._names, self.times = found.names, found.places / fps
        self.fps = fps

    def _read(self, wanted: list[int]) -> dict[int, np.ndarray]:
        found = {index: self._picture(index) for index in wanted}
        sizes = {frame.shape[:2]: index for index, frame in found.items()}
        if len(sizes) > 1:
            told = " and ".join(f"{h}x{w} ({self._names[i]})" for (h, w), i in sizes.items())
            raise VideoError(f"its pictures differ in size: {told}")
        return found

    def _picture(self, index: int) -> np.ndarray:
        name = self._names[index]
        try:
            with open_picture(os.path.join(self._folder, name)) as image:
                return np.asarray(image.convert("RGB"))
        except Exception as error:  # decoders fail in many ways
            reason = str(error) or type(error).__name__
            raise VideoError(f"frame {index} ({name}) cannot be read: {reason}") from error
