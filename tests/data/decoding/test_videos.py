"""Frames of generated videos by index, in any order and format."""

import multiprocessing
import random
from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import numbered_frames, numbers, write_video

from mvit_det.data.decoding import index as video_index
from mvit_det.data.decoding.reader import VideoFile, open_video
from mvit_det.data.decoding.stream import VideoStream

SLOW = {"preset": "medium"}  # with B-frames as references
OPEN = "open-gop=1:b-adapt=0:scenecut=0"
FILES = {
    "plain.mp4": {},
    "b_frames.mp4": dict(b_frames=3, options=SLOW),
    "one_key.mp4": dict(b_frames=3, options=SLOW, gop=1000),
    "open_gop.mp4": dict(b_frames=3, options=SLOW | {"x264-params": OPEN}),
    "intra_refresh.mp4": dict(options={"x264-params": "intra-refresh=1"}),
    "intra_refresh.mkv": dict(options={"x264-params": "intra-refresh=1"}),
    "all_keys.mp4": dict(gop=1),
    "plain.mkv": dict(b_frames=2, options=SLOW),
    "plain.ts": dict(codec="libx264", b_frames=3, options=SLOW),
    "plain.flv": dict(codec="libx264", b_frames=3, options=SLOW),
    "mpeg4.avi": dict(),
    "two_b_frames.avi": dict(b_frames=2),
    "h264.avi": dict(codec="libx264", b_frames=3, options=SLOW),
    "raw.h264": dict(codec="libx264", b_frames=3, options=SLOW),
    "vp9.webm": dict(options={"cpu-used": "8", "deadline": "realtime"}),
    "vp8.webm": dict(codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "10"}),
    "hevc.mp4": dict(codec="libx265", options={"x265-params": "log-level=none:open-gop=1"}),
    "mpeg2.mpg": dict(codec="mpeg2video", b_frames=2),
    "wmv2.wmv": dict(codec="wmv2"),
    "frames.gif": dict(codec="gif", pix_fmt="rgb8"),
}
COUNT = 50


@pytest.fixture(scope="module", params=FILES)
def video_file(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / request.param
    return write_video(path, numbered_frames(COUNT), **FILES[request.param])


def everything(path) -> np.ndarray:
    """All frames as PyAV decodes them, one after the other."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        if path.suffix == ".h264":  # PyAV does not make up the time stamps that are not there
            packets = container.demux(video=0)
            frames = [frame for packet in packets if packet.size for frame in packet.decode()]
            frames += container.streams.video[0].codec_context.decode(None)
        else:
            frames = list(container.decode(video=0))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


@pytest.fixture
def packets(monkeypatch):
    """Counts the packets that are read and that are decoded."""
    counts = {"read": 0, "decoded": 0}
    read, decode = VideoStream.packets, VideoStream.decode

    def counted_read(self):
        for packet in read(self):
            counts["read"] += 1
            yield packet

    def counted_decode(self, packet, needed=True):
        counts["decoded"] += packet is not None
        return decode(self, packet, needed)

    monkeypatch.setattr(VideoStream, "packets", counted_read)
    monkeypatch.setattr(VideoStream, "decode", counted_decode)
    return counts


def test_frames_one_by_one_and_together(video_file, monkeypatch):
    expected = everything(video_file)
    if video_file.stem != "intra_refresh":  # decoding cannot start from its keys
        monkeypatch.delattr(VideoFile, "_decode_from_start")  # so that seeking must be right
    order = list(range(COUNT))
    random.Random(0).shuffle(order)
    with open_video(video_file) as video:
        assert len(video) == COUNT
        assert numbers(video.frames(order)) == order
        for index in order[::2]:
            np.testing.assert_array_equal(video.frames([index])[0], expected[index])
        for count in (2, 3, 7, 16):
            some = random.Random(count).choices(range(COUNT), k=count)  # with repeats
            np.testing.assert_array_equal(video.frames(some), expected[some])


def test_any_frame_first_after_opening(video_file):
    for index in (COUNT - 1, 20, 0, 13):  # from the second opening on the index is cached
        with open_video(video_file) as video:
            assert numbers(video.frames([index])) == [index]


@pytest.mark.parametrize("name", ["open_gop.mp4", "hevc.mp4"])
def test_open_groups_of_the_generated_files(tmp_path, name):
    # After a key frame come frames that are shown before it; without them the tests above are void.
    path = write_video(tmp_path / name, numbered_frames(COUNT), **FILES[name])
    with av.open(str(path)) as container:
        rows = [(p.pts, p.is_keyframe) for p in container.demux(video=0) if p.size]
    keys = [number for number, (_, is_key) in enumerate(rows) if is_key and number]
    assert any(pts < rows[key][0] for key in keys for pts, _ in rows[key:])


def rewritten(path, name: str, stamp):
    """A copy of a video's packets with the time stamps that ``stamp(packet, number)`` sets."""
    copy = path.with_name(name)
    with av.open(str(path)) as container, av.open(str(copy), "w") as output:
        (stream,) = container.streams.video
        target = output.add_stream_from_template(stream)
        packets = [packet for packet in container.demux(stream) if packet.size]
        for number, packet in enumerate(packets):
            stamp(packet, number)
            packet.stream = target
            output.mux(packet)
    return copy


@pytest.mark.parametrize("name", ["wrong.mp4", "wrong.mkv"])
def test_time_stamps_in_the_order_of_decoding(tmp_path, name):
    path = write_video(tmp_path / "a.mp4", numbered_frames(COUNT), b_frames=3, options=SLOW)

    def stamp(packet, number):
        packet.pts = packet.dts = number * 512

    with open_video(rewritten(path, name, stamp)) as video:
        assert numbers(video.frames(range(COUNT))) == list(range(COUNT))
        assert numbers(video.frames([31])) == [31] and numbers(video.frames([2])) == [2]


def test_frames_before_the_start_of_an_edit_list_are_skipped(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(COUNT), b_frames=3, options=SLOW)

    def stamp(packet, number):  # as of a cut that keeps the packets from the last key frame on
        packet.pts, packet.dts = packet.pts - 15 * 512, packet.dts - 15 * 512

    with open_video(rewritten(path, "cut.mp4", stamp)) as video:
        assert len(video) == COUNT - 15
        assert numbers(video.frames(range(COUNT - 15))) == list(range(15, COUNT))
        assert [numbers(video.frames([index])) for index in (20, 0, 3)] == [[35], [15], [18]]


@pytest.mark.parametrize(
    "codec, b_frames, count",
    [("libx264", 3, 40), ("libx264", 3, 90), ("libx264", 0, 40), ("mpeg2video", 2, 90)],
)
def test_concatenated_files(tmp_path, codec, b_frames, count):
    # Each starts its time stamps anew: by them frames of the two would alternate.
    options = dict(codec=codec, b_frames=b_frames, options=SLOW if codec == "libx264" else None)
    parts = [
        write_video(tmp_path / f"{first}.ts", numbered_frames(count, first=first), **options)
        for first in (0, count)
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_video(path) as video:
        assert len(video) == 2 * count
        assert numbers(video.frames(range(2 * count))) == list(range(2 * count))
        np.testing.assert_allclose(video.times, np.arange(2 * count) / 30)
        assert numbers(video.frames([count + 7, 3])) == [count + 7, 3]


@pytest.mark.parametrize("name", ["a.ts", "open.ts"])
def test_frames_that_refer_to_missing_frames_are_skipped(tmp_path, name):
    # A recording begins anywhere: frames before its first key frame cannot be decoded.
    options = SLOW | ({"x264-params": OPEN} if name == "open.ts" else {})
    encoding = dict(codec="libx264", b_frames=3, options=options, gop=20)
    path = write_video(tmp_path / name, numbered_frames(90), **encoding)
    content = path.read_bytes()
    path.write_bytes(content[len(content) // 8 // 188 * 188 :])
    expected = numbers(everything(path))
    assert 20 < len(expected) < 90
    with av.open(str(path)) as container:
        start = container.start_time / av.time_base
        seconds = [frame.time - start for frame in container.decode(video=0)]
    with open_video(path) as video:
        np.testing.assert_allclose(video.times, seconds, atol=1e-3)
        for index in (0, 1, 2, 40):
            assert numbers(video.frames([index])) == [expected[index]]


def test_time_stamps_of_avi_with_b_frames_are_not_used(tmp_path):
    # For Xvid's files, which cannot be written here: FFmpeg guesses wrong presentation times, and
    # a skipped frame passes its time stamp on to another.
    stream = VideoStream(write_video(tmp_path / "a.avi", numbered_frames(20), b_frames=2))
    assert video_index.index_of(stream).stamps is None
    stream.restart()
    output = [f.pts for packet in stream.packets() for f in stream.decode(packet, needed=False)]
    assert len(output + stream.decode(None)) == 20
    stream.close()


def test_a_frame_stored_as_two_fields_is_one(tmp_path, monkeypatch):
    """Simulates files of camcorders, in which every other packet gives no frame."""
    options = SLOW | {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    path = write_video(tmp_path / "a.ts", numbered_frames(COUNT), codec="libx264", options=options)
    decode = VideoStream.decode

    def paired(self, packet, needed=True):
        return [frame for frame in decode(self, packet, needed) if numbers(pixels(frame))[0] % 2]

    def pixels(frame):
        return frame.to_ndarray(format="rgb24")[None]

    monkeypatch.setattr(VideoStream, "decode", paired)
    with open_video(path) as video:
        assert len(video) == COUNT // 2
        assert numbers(video.frames([3, 11])) == [7, 23]


@pytest.mark.parametrize("landing", ["nowhere", "too late", "too early"])
def test_frames_are_right_if_seeking_fails(tmp_path, monkeypatch, landing):
    path = write_video(tmp_path / "a.mp4", numbered_frames(COUNT), gop=10)
    seek = VideoStream.packets_at
    shift = {"too late": 15360, "too early": -15360}  # by a second

    def wrong(self, stamp):
        return iter(()) if landing == "nowhere" else seek(self, stamp + shift[landing])

    monkeypatch.setattr(VideoStream, "packets_at", wrong)
    with open_video(path) as video:
        for index in (45, 3, 25, 12):
            assert numbers(video.frames([index])) == [index]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.ts", "a.flv", "a.avi"])
def test_packets_decoded_by_opening_and_reading(tmp_path, packets, name):
    codec = "libx264" if name in ("a.ts", "a.flv") else None
    path = write_video(tmp_path / name, numbered_frames(200), gop=20, codec=codec)
    with open_video(path) as video:
        assert packets == {"read": 200, "decoded": 0}
        video.frames([185, 64])  # from the key frames 180 and 60 on
        assert packets["decoded"] == 6 + 5
        video.frames([5, 9, 30])  # frame 9 on the way; frame 30 from key 20 on
        assert packets["decoded"] == 11 + 10 + 11
        assert packets["read"] < 300  # no seeking failed, else all was read from the first one on


def test_the_index_of_an_unchanged_file_is_kept(tmp_path, packets, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered_frames(30))
    for _ in range(3):
        with open_video(path) as video:
            assert len(video) == 30
    assert packets["read"] == 30
    write_video(path, numbered_frames(20))
    with open_video(path) as video:
        assert len(video) == 20
    monkeypatch.setattr(video_index, "_FRAMES_KEPT", 30)
    for name in "bc":
        with open_video(write_video(tmp_path / f"{name}.mp4", numbered_frames(20))):
            pass
    assert len(video_index._kept) == 1  # the last one, however long
    assert video_index._kept.weight == 20


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv", "a.avi"])
@pytest.mark.parametrize("fps", [30, 25, Fraction(30000, 1001), 12.5])
def test_times_of_a_constant_rate_are_exact(tmp_path, name, fps):
    path = write_video(tmp_path / name, numbered_frames(20), fps)
    with open_video(path) as video:
        np.testing.assert_allclose(video.times, np.arange(20) / float(fps), rtol=1e-12)
        assert video.fps == pytest.approx(float(fps), rel=1e-12)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_times_of_a_variable_rate(tmp_path, name):
    times = 2 + np.cumsum(np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 5], 40))
    path = write_video(tmp_path / name, numbered_frames(40), times=times)
    with open_video(path) as video:
        np.testing.assert_allclose(video.times, times - times[0], atol=2e-3)
        assert video.fps == pytest.approx(39 / (times[-1] - times[0]), rel=1e-3)
        assert numbers(video.frames(range(40))) == list(range(40))


def test_one_frame(tmp_path):
    with open_video(write_video(tmp_path / "a.mp4", numbered_frames(1, first=5), 25)) as video:
        assert (len(video), video.times.tolist(), video.fps) == (1, [0], 25)
        assert numbers(video.frames([0, 0])) == [5, 5]


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_frames_are_upright(tmp_path, degrees):
    upright = numbered_frames(5, 48, 96)
    lying = np.rot90(upright, -degrees // 90, axes=(1, 2))
    path = write_video(tmp_path / "a.mp4", lying, rotation=degrees)
    with open_video(path) as video:
        frames = video.frames(range(5))
    assert frames.shape == (5, 48, 96, 3)
    assert numbers(frames) == list(range(5))
    assert frames[:, 3, :, 0].min() > 150 > frames[:, 3, :, 2].max()  # red is at the top


@pytest.mark.parametrize(
    "name, codec, pix_fmt, size",
    [
        ("grey.mkv", "ffv1", "gray", (48, 64)),
        ("alpha.mkv", "ffv1", "yuva420p", (48, 64)),
        ("deep.mkv", "ffv1", "yuv420p10le", (48, 64)),
        ("odd.mp4", "libx264", "yuv444p", (51, 67)),
        ("odd.avi", "mpeg4", "yuv420p", (51, 67)),
        ("wide.webm", "libvpx-vp9", "yuv420p", (16, 241)),
    ],
)
def test_pixel_formats_and_odd_sizes(tmp_path, name, codec, pix_fmt, size):
    path = write_video(tmp_path / name, numbered_frames(9, *size), codec=codec, pix_fmt=pix_fmt)
    with open_video(path) as video:
        frames = video.frames([8, 0, 4])
    assert frames.shape == (3, *size, 3) and frames.dtype == np.uint8
    assert numbers(frames) == [8, 0, 4]


# MPEG-4's "not coded": start code 1B6, P (01), 0 seconds, marker, frame 7 of 30 (5 bits), marker,
# not coded (0), stuffing.
VOP = bytes.fromhex("000001b6")
NOT_CODED = VOP + int("0101001111001111", 2).to_bytes(2, "big")


def write_mpeg4(path, count, b_frames, changed):
    """An AVI of the packets (content, is it a key) that ``changed`` makes of the encoder's."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.max_b_frames = b_frames
        encoded = []
        for pixels in numbered_frames(count):
            encoded += stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        encoded += stream.encode(None)
        for number, (content, is_key) in enumerate(changed(encoded)):
            packet = av.Packet(content)
            packet.pts = packet.dts = number
            packet.stream, packet.time_base = stream, Fraction(1, 30)
            packet.is_keyframe = is_key
            container.mux(packet)
    return path


def test_a_packet_that_repeats_the_previous_picture(tmp_path):
    def changed(encoded):
        for number, packet in enumerate(encoded):
            yield NOT_CODED if number == 7 else bytes(packet), packet.is_keyframe

    with open_video(write_mpeg4(tmp_path / "a.avi", 12, 0, changed)) as video:
        assert numbers(video.frames([6, 7, 11])) == [6, 6, 11]


def test_a_packed_bitstream(tmp_path):
    """As in files of old DivX and Xvid encoders: a B-frame in the packet of the previous frame."""

    def changed(encoded):
        rest = iter(encoded)
        for number, packet in enumerate(rest):
            content = bytes(packet)
            if number == 0:  # user data before the first frame signals it
                content = content.replace(VOP, b"\0\0\1\xb2DivX503b1393p\0" + VOP)
                yield content, True
                continue
            bidirectional = next(rest, None)
            if bidirectional is None:
                yield content, packet.is_keyframe
            else:
                assert bidirectional.pts < packet.pts
                yield content + bytes(bidirectional), packet.is_keyframe
                yield NOT_CODED, False

    path = write_mpeg4(tmp_path / "a.avi", 24, 1, changed)
    with open_video(path) as video:
        assert len(video) == 24
        assert numbers(video.frames(range(24))) == list(range(24))
        assert [numbers(video.frames([index]))[0] for index in range(24)] == list(range(24))


def _last_number(path) -> int:
    with open_video(path) as video:
        return numbers(video.frames([len(video) - 1]))[0]


def test_forked_workers_read_what_their_parent_has_read(tmp_path):
    paths = [write_video(tmp_path / f"{i}.mp4", numbered_frames(20 + i)) for i in range(4)]
    assert [_last_number(path) for path in paths] == [19, 20, 21, 22]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_last_number, paths * 2) == [19, 20, 21, 22] * 2
