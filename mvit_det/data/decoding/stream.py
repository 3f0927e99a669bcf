"""The picture stream of a video file: opening it, going to a packet of it, decoding packets."""

import os
from collections.abc import Iterator
from itertools import chain

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type as SideData
from av.stream import Discard, Disposition
from av.video.reformatter import VideoReformatter

# Frames that PyAV's converter gives as FFmpeg's own filter does, in half the time.
_PLAIN = ("yuv420p", "yuvj420p")
# A file whose pictures last for a smaller share of the time in its header is damaged.
_WHOLE = 0.95


class VideoError(ValueError):
    """A video or a frame of it cannot be used; the message is the reason, without the path."""


class VideoStream:
    """The first stream of pictures in a file.

    Decoding takes one thread: loaders have a process per core, and threads that decode frames ahead
    would decode ones that nobody asked for.

    Attributes:
        rates: frames per second as the file says and as FFmpeg guesses, if they do.
        rate: the likelier of them; 30 where there is none.
        time_base: seconds per unit of time stamps; rounding: seconds by which they may be wrong.
        start: the time stamp, in seconds, at which players start the file, be it with sound alone;
            None: the file does not tell.
        end: seconds from there to where the pictures end, by the header; None: it does not tell.
        count: of frames, by the header, which may be wrong; 0: it does not tell.
        size: height and width as stored.
        format, codec: FFmpeg's names for the kind of file and of compression.
        may_reorder: the codec may store frames in another order than they are shown in.
        fields: frames may be stored as two packets with every other line of them.
        at_start: the next packet is the first one.
        fault: why the decoder refused the last packet; None: it did not.
        refused: how many packets it has refused.

    Raises:
        VideoError: the file is missing, cannot be read, is no video, or has sound only.
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
        self.time_base = stream.time_base
        start = self._container.start_time
        self.start = None if start is None else start / av.time_base
        self.end = self._end(float((stream.start_time or 0) * self.time_base))
        self.count = stream.frames or round((self.end or 0) * (self.rates or [0])[0])
        self.size = (self._context.height, self._context.width)
        self.may_reorder = bool(self._context.has_b_frames)
        self.format, self.codec = self._container.format.name, self._context.name
        self.fields = self.codec == "h264" and self._context.field_order > 1  # not progressive
        # Files round time stamps, WebM to 1 ms.
        self.rounding = 1.01 * float(self.time_base)
        self._reformatter = VideoReformatter()
        self._graph: tuple[tuple, Graph] | None = None

    def close(self) -> None:
        """Release the file; a second time changes nothing."""
        self._container.close()

    def packets(self) -> Iterator[av.Packet]:
        """The packets from here on, up to the end of the file or where it is cut off."""
        self.at_start = False
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except (av.FFmpegError, IndexError):  # the latter at a stream that begins on the way
            return  # what follows is lost; what came before is good

    def packets_at(self, stamp: int) -> Iterator[av.Packet]:
        """The packets from about a time stamp on; where it lands depends on the format."""
        self.at_start = False
        try:
            self._container.seek(stamp, stream=self._stream)
        except av.FFmpegError:
            return iter(())
        return self.packets()

    def restart(self) -> None:
        """Go to the first packet for certain, which no seeking is."""
        if not self.at_start:
            self.close()
            self._open()

    def decode(self, packet: av.Packet | None, needed: bool = True) -> list[av.VideoFrame]:
        """The frames that the decoder gives out after a packet; None: the last ones it still has.

        A frame's ``pts`` is that which its packet had. A packet that the decoder refuses gives no
        frame, and `fault` tells why.

        Args:
            needed: False lets the decoder pass over a frame that no other one refers to. In H.264
                only: MPEG-4 may have two frames in a packet, and layers of HEVC do refer to them.
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
        """When players show a frame with this time stamp, counted from the start of the file."""
        seconds = float(stamp * self.time_base)
        if self.start is None:
            self.start = seconds
        return round(seconds - self.start, 6)  # FFmpeg rounds the start to microseconds

    def shown(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Decode the file from its first packet to its last: (seconds, frame), in order.

        Nothing is looked up beforehand.

        Raises:
            VideoError: after the last frame, where some are lost.
        """
        self.restart()
        clock, first, seconds = Clock(self), None, 0.0
        for packet in chain(self.packets(), [None]):
            for frame in self.decode(packet):
                seconds = clock(frame.pts, frame.dts)
                if first is None:  # what was refused before may refer to what was cut off
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
        """The fault of a file whose pictures end before its header says; None: it has none.

        Args:
            first, end: the seconds in between which there are pictures.
        """
        if self.end is None or end - first >= _WHOLE * (self.end - first):
            return None
        return f"it ended after {end:.4g} of {self.end:.4g} s (damaged?)"

    def pixels(self, frame: av.VideoFrame) -> np.ndarray:
        """RGB (height, width, 3) uint8, upright; of `size` also where that changes on the way.

        As FFmpeg converts it: by the frame's own matrix and range, of interlaced frames both fields
        together. Its display matrix turns and mirrors it, by multiples of 90 degrees.
        """
        height, width = self.size
        plain = frame.format.name in _PLAIN and not frame.interlaced_frame
        try:
            if plain and (frame.height, frame.width) == self.size:
                picture = self._reformatter.reformat(frame, format="rgb24", threads=1)
            else:
                picture = self._filtered(frame)
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"a frame cannot be made RGB: {error.strerror}") from error
        return _upright(picture.to_ndarray(), frame)

    def _filtered(self, frame: av.VideoFrame) -> av.VideoFrame:
        height, width = self.size
        key = (frame.format.name, frame.height, frame.width)
        if self._graph is None or self._graph[0] != key:
            graph = Graph()
            graph.threads = 1
            graph.link_nodes(
                graph.add_buffer(template=frame, time_base=self.time_base),
                graph.add("setfield", "prog"),
                # Of HDR the values are kept as they are stored.
                graph.add("setparams", "color_primaries=unknown:color_trc=unknown"),
                graph.add("scale", f"{width}:{height}:flags=bicubic"),
                graph.add("format", "rgb24"),
                graph.add("buffersink"),
            ).configure()
            self._graph = (key, graph)
        self._graph[1].push(frame)
        return self._graph[1].pull()

    def _end(self, first: float) -> float | None:
        start, length = self.start or 0.0, self._container.duration
        if self._stream.duration:
            return first - start + float(self._stream.duration * self.time_base)
        try:  # what Matroska has instead
            hours, minutes, seconds = self._stream.metadata.get("DURATION", "").split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - start
        except ValueError:
            return None if length is None else length / av.time_base

    def _open(self) -> None:
        try:
            # Without "file:" a name such as "concat:a" would be taken for more than a file.
            self._container = av.open(f"file:{self.path}", metadata_errors="ignore")
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"the file cannot be opened as a video: {error.strerror}") from error
        self.at_start = True
        try:
            self._stream = self._pictures()
        except VideoError:
            self.close()
            raise
        for other in self._container.streams:
            if other is not self._stream:
                other.discard = Discard.all
        self._context = self._stream.codec_context
        self._context.thread_count = 1

    def _pictures(self) -> av.VideoStream:
        name = self._container.format.name
        if name == "tty":  # FFmpeg would draw any text
            raise VideoError("the file is a text, not a video")
        if name.endswith("_pipe") or name == "image2":
            raise VideoError("the file is a single picture, not a video")
        streams = self._container.streams.video
        streams = [s for s in streams if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise VideoError("no video stream (audio only?)")
        if streams[0].codec_context is None:
            raise VideoError("there is no decoder for its codec")
        return streams[0]


class Clock:
    """The seconds of the frames of a stream, in the order in which a decoder gives them."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._stamps: list[int | None] = [None, None]
        self._faults = [0, 0]
        self._count, self._first, self._last, self._shift = 0, 0.0, -1 / stream.rate, 0.0

    def __call__(self, shown: int | None, decoded: int | None) -> float:
        """When the next frame is shown, by its time stamps of showing and of decoding."""
        stream, stamp = self._stream, self._best(shown, decoded)
        expected = self._last + 1 / stream.rate
        told = expected if stamp is None else stream.seconds(stamp) + self._shift
        if self._count and told <= self._last:  # a file was joined to it, with a clock of its own
            self._shift += expected - told
            told = expected
        self._first = told if self._count == 0 else self._first
        exact = (self._first + self._count / rate for rate in stream.rates)
        self._last = next((s for s in exact if abs(s - told) < stream.rounding), told)
        self._count += 1
        return self._last

    def _best(self, shown: int | None, decoded: int | None) -> int | None:
        """As FFmpeg chooses: that of showing, unless it fails to increase more often."""
        for kind, (stamp, other) in enumerate(((shown, decoded), (decoded, shown))):
            last = self._stamps[kind]
            self._faults[kind] += None not in (stamp, last) and stamp <= last
            self._stamps[kind] = other if stamp is None else stamp
        trusted = decoded is None or self._faults[0] <= self._faults[1]
        return shown if shown is not None and trusted else decoded


def _upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turn and mirror (H, W, 3) by the display matrix that takes (x, y) to (ax + cy, bx + dy)."""
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
