"""Index of a video file: when each frame is shown and where it is stored, mostly without decoding.

Packets are counted from 0 in the order of the file, which is the decoding order; frames from 0 in
presentation order. The two differ for files with B-frames.
"""

import os
from dataclasses import dataclass
from itertools import chain, islice
from typing import cast

import numpy as np

from mvit_det.data.decoding.cache import RecentlyUsed
from mvit_det.data.decoding.stream import Clock, VideoError, VideoStream

# No codec moves a frame further; time stamps that do are not valid.
_FARTHEST_REORDERING = 64
# Formats that store presentation times. Others, such as AVI, store the decoding order only, and
# FFmpeg's guess from it is wrong for two B-frames in a row.
_STORE_PRESENTATION = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv"}
# Seconds. A larger step back of decoding times means that files were concatenated: each has its own
# clock, and sorted by time stamps their frames would be interleaved.
_JUMP = 0.5
# Packets to decode to see whether time stamps in ascending order hide B-frames.
_PROBED = 32
# Start code of a frame in MPEG-4.
_MPEG4_FRAME = bytes.fromhex("000001b6")
# For all videos together: AVA's 299 of 15 minutes, at 12 bytes per frame 100 MB per process.
_FRAMES_KEPT = 8_200_000
# Time stamps below this limit fit into int32, as do their sums.
_SMALL = 2**30


@dataclass(frozen=True)
class VideoIndex:
    """Frames and packets of a video: N frames in P packets.

    Attributes:
        seconds: (N,) float64, from the start of the file; None: the rate is constant, ``fps``.
        start: second at which the first frame begins.
        end: second at which the last frame ends.
        fps: average frames per second.
        packets: (N,) int32, the packet of each frame.
        frames: (P,) int32, the frame of each packet; -1: it is not shown.
        keys: (K,) the packets at which decoding can start.
        stamps: (P,) the time stamp of each packet; None: time stamps are not reliable.
        delay: largest time from decoding to showing a key frame, in the unit of ``stamps``.
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
        """Seconds from the start of the file at which frames begin: float64 (N,)."""
        if self.seconds is not None:
            return self.seconds
        return self.start + np.arange(len(self.packets)) / self.fps

    def start_of(self, frame: int) -> int:
        """Return the index in ``keys`` at which to start decoding a frame; -1: the first packet.

        A frame that is shown before a key frame, but stored after it (in an "open" group of
        pictures), needs the previous key frame.
        """
        last = int(np.searchsorted(self.keys, self.packets[frame], side="right")) - 1
        while last >= 0 and self.frames[self.keys[last]] > frame:
            last -= 1
        return last


_kept: RecentlyUsed[VideoIndex] = RecentlyUsed()


def index_of(stream: VideoStream) -> VideoIndex:
    """Return the index of a newly opened file, from the cache or by reading the file to its end.

    Raises:
        VideoError: the file has no frames.
    """
    status = os.stat(stream.path)
    identity = (os.path.abspath(stream.path), status.st_size, status.st_mtime_ns)
    index = _kept.get(identity)
    if index is None:
        index = _build_index(stream)
        _kept.add(identity, index, len(index.packets), _FRAMES_KEPT)
    return index


def forget() -> None:
    """Drop the indices in the cache."""
    _kept.clear()


def _build_index(stream: VideoStream) -> VideoIndex:
    rows = [
        (p.pts, p.dts, p.is_keyframe, p.is_discard or p.is_corrupt, p.duration or 0)
        for p in stream.packets()
    ]
    if not rows:
        raise VideoError("no frames")
    pts, dts, is_key, hidden, durations = (np.array(column) for column in zip(*rows))
    keys, stamps, delay = np.flatnonzero(is_key), None, 0
    decoded = np.array([stamp for stamp in dts if stamp is not None]) * float(stream.time_base)
    one_clock = (np.diff(decoded) > -_JUMP).all()
    if one_clock and _has_presentation_order(pts, stream):
        hidden |= _find_undecodable(pts, keys, stream)
        packets = np.argsort(pts, kind="stable")
        packets = packets[~hidden[packets]]
        stamps, first = pts, pts[packets[:1]]
        seconds = (pts[packets] - first) * float(stream.time_base)
        seconds += list(map(stream.seconds, first.tolist()))
        delay = 0 if None in dts or not len(keys) else int((pts - dts)[keys].max())
    else:
        order, clock = _decode_order(stream), Clock(stream)
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
    last = int(durations[packets[-1]]) * float(stream.time_base)
    times = _times(seconds.astype(float), last, stream)
    return VideoIndex(*times, packets.astype(np.int32), frames, keys, stamps, delay)


def _has_presentation_order(pts: np.ndarray, stream: VideoStream) -> bool:
    """Return whether all presentation time stamps ``pts`` (P,) are present and plausible."""
    if None in pts:
        return False
    order = np.argsort(pts, kind="stable")
    if np.abs(order - np.arange(len(order))).max() > _FARTHEST_REORDERING:
        return False
    if stream.fields and len(_decode_order(stream, _PROBED)) < min(_PROBED, len(pts)):
        return False  # each packet holds one field, and two fields make a frame
    if not stream.may_reorder:
        return True
    if stream.format not in _STORE_PRESENTATION:
        return False
    if (np.diff(pts) >= 0).all():  # no reordering, or a writer that was not aware of it
        output = [number for number, _ in _decode_order(stream, _PROBED)]
        return output == sorted(output)
    return True


def _find_undecodable(pts: np.ndarray, keys: np.ndarray, stream: VideoStream) -> np.ndarray:
    """Find packets that refer to frames cut off before the first key frame: bool (P,).

    Decodes only if a packet is stored or shown before that key frame.
    """
    hidden = np.zeros(len(pts), dtype=bool)
    if len(keys):
        early = np.arange(len(pts)) < keys[0]
        early |= pts < pts[keys[0]]
        if early.any():
            last = int(np.flatnonzero(early)[-1])
            hidden[early] = True
            hidden[[number for number, _ in _decode_order(stream, last + 1)]] = False
    return hidden


def _decode_order(stream: VideoStream, limit: int | None = None) -> list[tuple[int, int | None]]:
    """Decode the file; returns (packet, decoding time stamp) of each frame, in output order."""
    stream.restart()
    order: list[tuple[int, int | None]] = []
    for number, packet in enumerate(chain(islice(stream.packets(), limit), [None])):
        if packet is not None:
            packet.pts = number
        # PyAV passes the ``pts`` of a packet on to its frame
        order += [(cast(int, frame.pts), frame.dts) for frame in stream.decode(packet)]
    return order


def _is_packed(stream: VideoStream) -> bool:
    """Return whether packets hold two frames, as in MPEG-4 in AVI ("packed bitstream").

    Decoding from a key frame gives other frames than decoding from the first packet, since only
    the first packet may signal that the stream is packed.
    """
    stream.restart()
    return stream.codec == "mpeg4" and any(
        bytes(packet).count(_MPEG4_FRAME) > 1 for packet in stream.packets()
    )


def _times(
    seconds: np.ndarray, last: float, stream: VideoStream
) -> tuple[np.ndarray | None, float, float, float]:
    """Return ``seconds``, ``start``, ``end`` and ``fps`` of an index.

    Args:
        seconds: (N,) ascending times of the frames; if their rate is constant up to rounding, the
            result is None and that rate.
        last: duration of the last packet in seconds; 0: not known.
        stream: the opened file.
    """
    start, count = float(seconds[0]), len(seconds)
    length = float(seconds[-1]) - start
    if not length > 0:
        return seconds, start, start + (last or 1 / stream.rate), stream.rate
    for rate in stream.rates:
        if np.abs(seconds - start - np.arange(count) / rate).max() < stream.rounding:
            return None, start, start + count / rate, rate
    fps = (count - 1) / length
    return seconds, start, start + length + (last or 1 / fps), fps
