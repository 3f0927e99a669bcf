"""When each frame of a video file is shown and where it is stored, learnt without decoding it.

Packets are counted from 0 in the order of the file, which is that of decoding; frames from 0 in the
order of showing. B-frames make the two differ.
"""

import os
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from mvit_det.data.decoding.cache import RecentlyUsed
from mvit_det.data.decoding.stream import Clock, VideoError, VideoStream

# No codec puts a frame further from its place; time stamps that do tell nothing.
_FARTHEST_REORDERING = 64
# Formats that store when a frame is shown. Others, such as AVI, store the order of decoding only;
# what FFmpeg guesses from it is wrong with two B-frames in a row.
_STORE_PRESENTATION = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv"}
# Seconds. Times of decoding go back by more where files were joined one behind the other: each has a
# clock of its own, by which their frames would alternate.
_JUMP = 0.5
# So many packets show whether time stamps in order hide B-frames.
_PROBED = 32
# Start code of a frame.
_MPEG4_FRAME = bytes.fromhex("000001b6")
# Of all videos together: AVA's 299 of 15 minutes, which at 12 bytes a frame are 100 MB per process.
_FRAMES_KEPT = 8_200_000
# Time stamps below it are kept in half the memory, and can be added to each other.
_SMALL = 2**30


@dataclass(frozen=True)
class VideoIndex:
    """Of a video with N frames in P packets.

    Attributes:
        seconds: (N,) from the start of the file on; None: frames come at the constant rate ``fps``.
        start, end: when the first frame begins and the last one ends, in seconds by the same clock.
        fps: average frames per second.
        packets: (N,) the packet of each frame.
        frames: (P,) the frame of each packet; -1: it is not shown.
        keys: (K,) the packets from which decoding can start.
        stamps: (P,) the time stamp of each packet in the file; None: they are not to be relied on.
        delay: how much earlier than shown a key frame is decoded, in the unit of the stamps.
    """

    seconds: np.ndarray | None
    start: float
    end: float
    fps: float
    packets: np.ndarray
    frames: np.ndarray
    keys: np.ndarray
    stamps: np.ndarray | None
    delay: int

    @property
    def times(self) -> np.ndarray:
        """(N,) seconds from the start of the file on."""
        if self.seconds is not None:
            return self.seconds
        return self.start + np.arange(len(self.packets)) / self.fps

    def start_of(self, frame: int) -> int:
        """Which of `keys` decoding has to start from for this frame; -1: from the first packet.

        A frame that is shown before a key frame, but stored after it (in an "open" group of
        pictures), needs the key frame before.
        """
        last = int(np.searchsorted(self.keys, self.packets[frame], side="right")) - 1
        while last >= 0 and self.frames[self.keys[last]] > frame:
            last -= 1
        return last


_kept: RecentlyUsed[VideoIndex] = RecentlyUsed()


def index_of(stream: VideoStream) -> VideoIndex:
    """The index of a file just opened, from memory if this process had it open of late.

    Otherwise it reads the file to its end.

    Raises:
        VideoError: there is no frame.
    """
    status = os.stat(stream.path)
    identity = (os.path.abspath(stream.path), status.st_size, status.st_mtime_ns)
    index = _kept.get(identity)
    if index is None:
        index = _built(stream)
        _kept.add(identity, index, len(index.packets), _FRAMES_KEPT)
    return index


def forget() -> None:
    """Drop the indices kept in memory."""
    _kept.clear()


def _built(stream: VideoStream) -> VideoIndex:
    rows = [
        (p.pts, p.dts, p.is_keyframe, p.is_discard or p.is_corrupt, p.duration or 0)
        for p in stream.packets()
    ]
    if not rows:
        raise VideoError("no frames")
    pts, dts, is_key, hidden, lasted = (np.array(column) for column in zip(*rows))
    keys, stamps, delay = np.flatnonzero(is_key), None, 0
    decoded = np.array([stamp for stamp in dts if stamp is not None]) * float(stream.time_base)
    one_clock = (np.diff(decoded) > -_JUMP).all()
    if one_clock and _tells_the_order(pts, stream):
        hidden |= _without_picture(pts, keys, stream)
        packets = np.argsort(pts, kind="stable")
        packets = packets[~hidden[packets]]
        stamps, first = pts, pts[packets[:1]]
        seconds = (pts[packets] - first) * float(stream.time_base)
        seconds += list(map(stream.seconds, first.tolist()))
        delay = 0 if None in dts or not len(keys) else int((pts - dts)[keys].max())
    else:
        order, clock = _decoded_order(stream), Clock(stream)
        packets = np.array([number for number, _ in order], dtype=np.int64)
        if _is_packed(stream):
            keys = keys[:0]
        seconds = np.array([clock(pts[number], stamp) for number, stamp in order])
    if not len(packets):
        raise VideoError("no frames")
    frames = np.full(len(rows), -1, dtype=np.int32)
    frames[packets] = np.arange(len(packets))
    if stamps is not None and np.abs(stamps).max() < _SMALL:
        stamps = stamps.astype(np.int32)
    last = int(lasted[packets[-1]]) * float(stream.time_base)
    times = _times(seconds.astype(float), last, stream)
    return VideoIndex(*times, packets.astype(np.int32), frames, keys, stamps, delay)


def _tells_the_order(pts: np.ndarray, stream: VideoStream) -> bool:
    """Whether the time stamps of showing are there and can be true."""
    if None in pts:
        return False
    order = np.argsort(pts, kind="stable")
    if np.abs(order - np.arange(len(order))).max() > _FARTHEST_REORDERING:
        return False
    if stream.fields and len(_decoded_order(stream, _PROBED)) < min(_PROBED, len(pts)):
        return False  # a packet has a field, of which two make a frame
    if not stream.may_reorder:
        return True
    if stream.format not in _STORE_PRESENTATION:
        return False
    if (np.diff(pts) >= 0).all():  # nothing is out of order, or its maker did not know that it is
        shown = [number for number, _ in _decoded_order(stream, _PROBED)]
        return shown == sorted(shown)
    return True


def _without_picture(pts: np.ndarray, keys: np.ndarray, stream: VideoStream) -> np.ndarray:
    """Which packets (P,) refer to what was cut off before the first key, so that nobody sees them.

    Where none is stored or shown before that key, nothing is decoded.
    """
    hidden = np.zeros(len(pts), dtype=bool)
    if len(keys):
        early = np.arange(len(pts)) < keys[0]
        early |= pts < pts[keys[0]]
        if early.any():
            last = int(np.flatnonzero(early)[-1])
            hidden[early] = True
            hidden[[number for number, _ in _decoded_order(stream, last + 1)]] = False
    return hidden


def _decoded_order(stream: VideoStream, limit: int | None = None) -> list[tuple[int, int | None]]:
    """Decode everything: of each frame, as they come out, the packet and the stamp of decoding."""
    stream.restart()
    order = []
    for number, packet in enumerate(chain(islice(stream.packets(), limit), [None])):
        if packet is not None:
            packet.pts = number
        order += [(frame.pts, frame.dts) for frame in stream.decode(packet)]
    return order


def _is_packed(stream: VideoStream) -> bool:
    """Whether packets hold two frames, as those of MPEG-4 in AVI may ("packed bitstream").

    Decoded from a key frame on, they give other frames than from the first packet on, which may be
    the only one that tells that they are packed.
    """
    stream.restart()
    return stream.codec == "mpeg4" and any(
        bytes(packet).count(_MPEG4_FRAME) > 1 for packet in stream.packets()
    )


def _times(
    seconds: np.ndarray, last: float, stream: VideoStream
) -> tuple[np.ndarray | None, float, float, float]:
    """`seconds`, `start`, `end` and `fps` of an index.

    Where the seconds are the rounded ones of a constant rate, it is that.

    Args:
        seconds: (N,), ascending.
        last: for which the last packet is shown; 0: it does not tell.
    """
    start, count = float(seconds[0]), len(seconds)
    lasted = float(seconds[-1]) - start
    if not lasted > 0:
        return seconds, start, start + (last or 1 / stream.rate), stream.rate
    for rate in stream.rates:
        if np.abs(seconds - start - np.arange(count) / rate).max() < stream.rounding:
            return None, start, start + count / rate, rate
    fps = (count - 1) / lasted
    return seconds, start, start + lasted + (last or 1 / fps), fps
