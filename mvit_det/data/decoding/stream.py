"""The video stream of a file: opening, seeking and decoding packets, with PyAV."""

import os
from collections.abc import Iterator
from itertools import chain
from typing import cast

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type as SideData
from av.stream import Discard, Disposition
from av.video.reformatter import VideoReformatter

from mvit_det.data.decoding.resizing import decoded_size

# Formats for which PyAV's converter gives the pixels of FFmpeg's filter, in half the time.
_PLAIN = ("yuv420p", "yuvj420p")
# A file whose pictures last for a smaller share of its header's duration is damaged.
_WHOLE = 0.95


class VideoError(ValueError):
    """A video or frame cannot be read; the message is the reason, without the path."""


class VideoStream:
    """The first video stream in a file.

    Decoding uses one thread: loaders have a process per core, and frame threads would decode frames
    ahead that are not needed.

    Attributes:
        rates: frames per second by the header and as FFmpeg guesses, if known.
        rate: the more reliable of ``rates``; 30 if there is none.
        time_base: unit of time stamps, in seconds.
        rounding: seconds by which time stamps may be rounded.
        start: time stamp in seconds at which players start the file, even with sound alone; None:
            not known.
        end: seconds from ``start`` to the end of the last picture, by the header; None: not known.
        count: number of frames by the header, which may be wrong; 0: not known.
        packets_by_header: number of packets by the index in the header; 0: not known.
        turned: whether the display matrix rotates or mirrors the last converted frame.
        size: (height, width) as stored.
        format: FFmpeg's name of the container format.
        codec: FFmpeg's name of the codec.
        may_reorder: whether the decoding order may differ from the presentation order.
        fields: whether a frame may be stored as two packets, one field each (interlaced).
        at_start: whether the next packet is the first one.
        fault: reason why the decoder refused the last packet; None: it did not.
        refused: number of packets that the decoder has refused.

    Raises:
        VideoError: the file is missing, cannot be read, is not a video, or has sound only.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self.fault: str | None = None
        self.refused = 0
        if not os.path.exists(self.path):
            raise VideoError("the file does not exist")
        if not os.path.getsize(self.path):
            raise VideoError("the file is empty (0 bytes)")
        self._open()
        stream = self._stream
        self.rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
        self.rate = self.rates[-1] if self.rates else 30.0
        assert stream.time_base is not None  # a demuxer sets it
        self.time_base = stream.time_base
        start = self._container.start_time
        self.start = None if start is None else start / av.time_base
        self.end = self._end(float((stream.start_time or 0) * self.time_base))
        self.count = stream.frames or round((self.end or 0) * (self.rates or [0])[0])
        self.size = (self._context.height, self._context.width)
        self.may_reorder = bool(self._context.has_b_frames)
        self.format, self.codec = self._container.format.name, self._context.name
        # Of MP4 alone: other formats count repeated frames, or index key frames only. It lacks
        # what an edit list cuts off, unlike ``stream.frames``.
        mp4 = self.format.startswith("mov")
        self.packets_by_header = len(stream.index_entries) if mp4 else 0
        self.turned = False
        self.fields = self.codec == "h264" and self._context.field_order > 1  # not progressive
        # Files round time stamps, WebM to 1 ms.
        self.rounding = 1.01 * float(self.time_base)
        self._reformatter = VideoReformatter()
        self._graph: tuple[tuple, Graph] | None = None

    def close(self) -> None:
        """Close the file; further calls have no effect."""
        self._container.close()

    def packets(self) -> Iterator[av.Packet]:
        """Yield the packets from the current position to the end, or to the cut of the file."""
        self.at_start = False
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except (av.FFmpegError, IndexError):  # IndexError: another stream begins in mid-file
            return  # the rest is lost; the packets before it are intact

    def packets_at(self, stamp: int) -> Iterator[av.Packet]:
        """Seek to near a time stamp, in units of ``time_base``, and return the packets from there.

        The format decides where it lands; if it cannot seek, there are no packets.
        """
        self.at_start = False
        try:
            self._container.seek(stamp, stream=self._stream)
        except av.FFmpegError:
            return iter(())
        return self.packets()

    def restart(self) -> None:
        """Go to the first packet by opening the file again, since seeking is not exact.

        Raises:
            VideoError: the file cannot be opened again.
        """
        if not self.at_start:
            self.close()
            self._open()

    def decode(self, packet: av.Packet | None, needed: bool = True) -> list[av.VideoFrame]:
        """Decode a packet, and return the frames that the decoder then releases.

        A frame has the ``pts`` of its packet. If the decoder refuses a packet, the result is empty
        and ``fault`` is set.

        Args:
            packet: the next packet; None: return the frames that the decoder still holds.
            needed: False: the decoder may skip a frame that no other frame refers to. H.264 only:
                MPEG-4 may have two frames in a packet, and in HEVC other layers may refer to it.
        """
        if self.codec == "h264":
            self._context.skip_frame = "DEFAULT" if needed else "NONREF"
        self.fault = None
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError as error:
            self.fault = error.strerror
            self.refused += 1
            frames = []
        if packet is None:
            self._context.flush_buffers()
        return frames

    def seconds(self, stamp: int) -> float:
        """Convert a time stamp, in units of ``time_base``, to seconds from the file's start."""
        seconds = float(stamp * self.time_base)
        if self.start is None:
            self.start = seconds
        return round(seconds - self.start, 6)  # FFmpeg rounds the start to microseconds

    def decode_all(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Decode the whole file in order, without an index; yields (seconds, frame).

        Raises:
            VideoError: after the last frame, if frames are lost or there are none.
        """
        self.restart()
        clock, first, seconds = Clock(self), None, 0.0
        for packet in chain(self.packets(), [None]):
            for frame in self.decode(packet):
                seconds = clock(frame.pts, frame.dts)
                if first is None:  # packets refused before may refer to what was cut off
                    first, self.refused = seconds, 0
                yield seconds, frame
        if first is None:
            raise VideoError("no frame can be decoded (damaged?)")
        fault = self.cut_off(first, seconds + 1 / self.rate)
        if self.refused and not fault:
            fault = f"{self.refused} of its frames cannot be decoded (damaged?)"
        if fault:
            raise VideoError(fault)

    def cut_off(self, first: float, end: float) -> str | None:
        """Describe the fault of a file that is shorter than by its header; None: no fault.

        Args:
            first: second at which the first frame begins.
            end: second at which the last frame ends.
        """
        if self.end is None or end - first >= _WHOLE * (self.end - first):
            return None
        return f"it ended after {end:.4g} of {self.end:.4g} s (damaged?)"

    def pixels(self, frame: av.VideoFrame, short_side: int | None = None) -> np.ndarray:
        """Convert a frame to RGB uint8 (H, W, 3), rotated upright.

        FFmpeg converts it by the colour matrix and range of the frame, interlaced frames as a
        whole; a frame of another size is resized to ``size``. The display matrix then rotates by
        multiples of 90 degrees and mirrors.

        Args:
            frame: a frame of this stream.
            short_side: shorter side in pixels that the frame is resized to, as by the released
                code's decoder (`mvit_det.data.decoding.resizing`); None: the size stays.

        Raises:
            VideoError: the frame cannot be converted.
        """
        plain = frame.format.name in _PLAIN and not frame.interlaced_frame
        size = self.size if short_side is None else decoded_size(*self.size, short_side)
        try:
            if plain and short_side is None and (frame.height, frame.width) == size:
                picture = self._reformatter.reformat(frame, format="rgb24", threads=1)
            else:
                picture = self._filter(frame, size, "bicubic" if short_side is None else "area")
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"a frame cannot be converted to RGB: {error.strerror}") from error
        a, b, c, d = matrix = _display_matrix(frame)
        self.turned = not (a > 0 and d > 0 and b == c == 0)
        return _rotate_upright(picture.to_ndarray(), matrix)

    def _filter(self, frame: av.VideoFrame, size: tuple[int, int], method: str) -> av.VideoFrame:
        height, width = size
        key = (frame.format.name, frame.height, frame.width, size, method)
        if self._graph is None or self._graph[0] != key:
            graph = Graph()
            graph.threads = 1
            graph.link_nodes(
                # like a stream, a frame has the format and the size
                graph.add_buffer(template=frame, time_base=self.time_base),  # type: ignore[arg-type]
                graph.add("setfield", "prog"),
                # The values of HDR are kept as stored.
                graph.add("setparams", "color_primaries=unknown:color_trc=unknown"),
                graph.add("scale", f"{width}:{height}:flags={method}"),
                graph.add("format", "rgb24"),
                graph.add("buffersink"),
            ).configure()
            self._graph = (key, graph)
        self._graph[1].push(frame)
        return cast(av.VideoFrame, self._graph[1].pull())

    def _end(self, first: float) -> float | None:
        start, length = self.start or 0.0, self._container.duration
        if self._stream.duration:
            return first - start + float(self._stream.duration * self.time_base)
        try:  # Matroska's tag
            hours, minutes, seconds = self._stream.metadata.get("DURATION", "").split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - start
        except ValueError:
            return None if length is None else length / av.time_base

    def _open(self) -> None:
        try:
            # Without "file:", FFmpeg would take a name such as "concat:a" for a protocol.
            self._container = av.open(f"file:{self.path}", metadata_errors="ignore")
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"the file cannot be opened as a video: {error.strerror}") from error
        self.at_start = True
        try:
            self._stream = self._select_stream()
        except VideoError:
            self.close()
            raise
        for other in self._container.streams:
            if other is not self._stream:
                other.discard = Discard.all
        self._context = self._stream.codec_context
        self._context.thread_count = 1

    def _select_stream(self) -> av.VideoStream:
        name = self._container.format.name
        if name == "tty":  # FFmpeg would draw any text
            raise VideoError("the file is text, not a video")
        if name.endswith("_pipe") or name == "image2":
            raise VideoError("the file is a single picture, not a video")
        videos = self._container.streams.video
        streams = [s for s in videos if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise VideoError("no video stream (audio only?)")
        if streams[0].codec_context is None:
            raise VideoError("there is no decoder for its codec")
        return streams[0]


class Clock:
    """Computes the second of each frame of a stream, called in the order of decoding."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._stamps: list[int | None] = [None, None]
        self._faults = [0, 0]
        self._count, self._first, self._last, self._shift = 0, 0.0, -1 / stream.rate, 0.0

    def __call__(self, presented: int | None, decoded: int | None) -> float:
        """Return the second of the next frame, by its presentation and decoding time stamps."""
        stream, stamp = self._stream, self._select_stamp(presented, decoded)
        expected = self._last + 1 / stream.rate
        second = expected if stamp is None else stream.seconds(stamp) + self._shift
        if self._count and second <= self._last:  # the clock of the next of concatenated files
            self._shift += expected - second
            second = expected
        self._first = second if self._count == 0 else self._first
        exact = (self._first + self._count / rate for rate in stream.rates)
        self._last = next((s for s in exact if abs(s - second) < stream.rounding), second)
        self._count += 1
        return self._last

    def _select_stamp(self, presented: int | None, decoded: int | None) -> int | None:
        """Choose as FFmpeg does: the presentation time stamp, unless it more often goes back."""
        for kind, (stamp, other) in enumerate(((presented, decoded), (decoded, presented))):
            last = self._stamps[kind]
            self._faults[kind] += stamp is not None and last is not None and stamp <= last
            self._stamps[kind] = other if stamp is None else stamp
        trusted = decoded is None or self._faults[0] <= self._faults[1]
        return presented if presented is not None and trusted else decoded


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Return a, b, c, d of the matrix that takes (x, y) to (ax + cy, bx + dy) for display."""
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]  # by type
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a, b, c, d


def _rotate_upright(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Rotate and mirror pixels (H, W, 3) by a `_display_matrix`."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
