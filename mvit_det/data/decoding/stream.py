"""The picture stream of a video file: opening it, going to a packet of it, decoding packets."""

import os
from collections.abc import Iterator

import av
import numpy as np
from av.stream import Discard, Disposition
from av.video.reformatter import VideoReformatter


class VideoError(ValueError):
    """A video or a frame of it cannot be used; the message is the reason, without the path."""


class VideoStream:
    """The first stream of pictures in a file.

    Decoding takes one thread: loaders have a process per core, and threads that decode frames ahead
    would decode ones that nobody asked for.

    Attributes:
        average_rate, guessed_rate: frames per second as the file says and as FFmpeg guesses.
        time_base: seconds per unit of time stamps.
        size: height and width as stored.
        format, codec: FFmpeg's names for the kind of file and of compression.
        may_reorder: the codec may store frames in another order than they are shown in.
        at_start: the next packet is the first one.
        fault: why the decoder refused the last packet; None: it did not.

    Raises:
        VideoError: the file is missing, cannot be read, is no video, or has sound only.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self.fault: str | None = None
        if not os.path.exists(self.path):
            raise VideoError("the file does not exist")
        if not os.path.getsize(self.path):
            raise VideoError("the file is empty (0 bytes)")
        self._open()
        self.average_rate, self.guessed_rate = self._stream.average_rate, self._stream.guessed_rate
        self.time_base = self._stream.time_base
        self.size = (self._context.height, self._context.width)
        self.may_reorder = bool(self._context.has_b_frames)
        self.format, self.codec = self._container.format.name, self._context.name
        self._reformatter = VideoReformatter()

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
            frames = []
        if packet is None:
            self._context.flush_buffers()
        return frames

    def pixels(self, frame: av.VideoFrame) -> np.ndarray:
        """RGB (height, width, 3) uint8, upright; of `size` also where that changes on the way."""
        height, width = self.size
        try:
            frame = self._reformatter.reformat(
                frame, format="rgb24", width=width, height=height, threads=1
            )
        except av.FFmpegError as error:
            raise VideoError(f"a frame cannot be made RGB: {error.strerror}") from error
        return np.rot90(frame.to_ndarray(), round(frame.rotation / 90))

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
