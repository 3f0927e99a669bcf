"""Generated clips: classes differ only in motion; files are complete, cached and reproducible."""

from importlib import import_module

import av
import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from generated_files import files_below

from mvit_det.data.synthetic.motion_clips import (
    DIALS,
    MOTIONS,
    draw_clip,
    generate_motion_clips,
    motion_clips,
    random_dials,
    random_scene,
    write_clip,
)
from mvit_det.errors import UserError

# what the package exports under this name is the function
module = import_module("mvit_det.data.synthetic.motion_clips")
SIZE = (48, 64)
SMALL = dict(num_train=20, num_val=10, num_frames=6, size=SIZE, num_shapes=2)
OPPOSITE = {
    motion: next(name for name, move in MOTIONS.items() if move == (dial, -direction))
    for motion, (dial, direction) in MOTIONS.items()
}


def decoded(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def drawn(motion: str, seed: int, num_frames: int = 6) -> np.ndarray:
    return draw_clip(np.random.default_rng(seed), motion, num_frames, SIZE, 2)


@pytest.mark.parametrize("motion", MOTIONS)
def test_reversed_clip_equals_the_opposite_class_bit_for_bit(motion, tmp_path):
    """So the two classes have the same sets of frames, after compression as well."""
    forwards, opposite = drawn(motion, seed=3), drawn(OPPOSITE[motion], seed=3)
    assert np.array_equal(forwards[::-1], opposite)
    assert not np.array_equal(forwards, opposite)
    write_clip(tmp_path / "a.mp4", forwards)
    write_clip(tmp_path / "b.mp4", opposite)
    assert np.array_equal(decoded(tmp_path / "a.mp4")[::-1], decoded(tmp_path / "b.mp4"))


def test_frames_are_compressed_independently(tmp_path):
    """With references between frames, or a rate control, a frame would depend on earlier ones."""
    frames = np.concatenate([drawn(motion, seed=4) for motion in ("left", "grows", "darkens")])
    write_clip(tmp_path / "all.mp4", frames)
    together = decoded(tmp_path / "all.mp4")
    for index in (0, 1, 7, 17):
        write_clip(tmp_path / "one.mp4", frames[index : index + 1])
        assert np.array_equal(decoded(tmp_path / "one.mp4")[0], together[index])
    error = np.abs(together.astype(int) - frames).mean()
    assert 0 < error < 8


@pytest.mark.parametrize("frame", [0, 20, 47])
def test_dials_are_uniform_in_every_frame_of_every_class(frame):
    """Kolmogorov-Smirnov test (p = 0.001 at 1.95) against uniformity, and no correlation."""
    for number, motion in enumerate(MOTIONS):
        rng = np.random.default_rng([5, number])
        dials = random_dials(rng, motion, 48, 2000)[frame]
        assert dials.shape == (2000, len(DIALS)) and dials.min() >= 0 and dials.max() < 1
        ordered = np.sort(dials, axis=0)
        steps = np.arange(1, 2001)[:, None] / 2000
        assert np.abs(ordered - steps).max() * np.sqrt(2000) < 1.95
        waves = np.exp(2j * np.pi * dials)
        together = np.abs(waves.T @ waves.conj() - np.diag(np.full(5, 2000))) / 2000
        assert together.max() < 0.1


def test_any_frame_may_be_of_any_class():
    """Each class can reach the same picture: from its dials, turned back by the class's motion."""
    rng = np.random.default_rng(6)
    scene, look, speed, frame = random_scene(rng, 2, SIZE), rng.uniform(size=(2, 5)), 0.01, 4
    wanted = scene.frame(look)
    for dial, direction in MOTIONS.values():
        turned = np.eye(5)[DIALS.index(dial)] * direction * speed * frame
        assert (
            np.abs(scene.frame(np.mod(look - turned, 1) + turned).astype(int) - wanted).max() <= 1
        )


def test_each_class_turns_only_its_dial_in_its_direction():
    for motion, (dial, direction) in MOTIONS.items():
        dials = random_dials(np.random.default_rng(7), motion, 48, 3)
        steps = np.mod(np.diff(dials, axis=0) + 0.5, 1) - 0.5
        moved = DIALS.index(dial)
        speeds = steps[..., moved] * direction
        assert speeds.min() > 0.005 and speeds.max() < 0.02
        assert np.abs(np.delete(steps, moved, axis=2)).max() < 1e-12


def test_dials_set_what_they_are_named_after():
    """Position, size, brightness and rotation of one shape on a black background."""
    scene = random_scene(np.random.default_rng(8), 1, (64, 96))
    scene.background[:] = 0

    def measured(**changes) -> tuple[np.ndarray, np.ndarray]:
        dials = dict(column=0.5, row=0.5, angle=0.1, size=0.5, brightness=0.5) | changes
        picture = scene.frame(np.array([list(dials.values())])).astype(float).sum(axis=-1)
        places = np.argwhere(picture > 30)
        return picture, np.append(places.mean(axis=0), len(places))

    picture, (y, x, area) = measured()
    assert abs(y - 32) < 2 and abs(x - 48) < 2
    assert measured(column=0.6)[1][1] == pytest.approx(x + 9.6, abs=1)
    assert measured(row=0.6)[1][0] == pytest.approx(y + 6.4, abs=1)
    assert measured(size=0.7)[1][2] > 1.2 * area
    assert measured(brightness=0.7)[0].sum() > 1.1 * picture.sum()
    assert np.abs(measured(angle=0.15)[0] - picture).max() > 50
    # what leaves on one side comes in on the other
    split = measured(column=0.0)[0]
    assert split[:, :10].any() and split[:, -10:].any() and not split[:, 30:66].any()
    assert split.sum() == pytest.approx(picture.sum(), rel=0.02)


def test_files_and_labels(root):
    data = motion_clips("train", **SMALL, name="motion_clips_test", num_classes=10)
    assert data.classes == list(MOTIONS) == sorted(MOTIONS)
    assert list(MetadataCatalog.get("motion_clips_test").thing_classes) == data.classes
    assert np.bincount(data.labels).tolist() == [2] * 10
    for item in list(data)[:3]:
        with av.open(item["file_name"]) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.frames) == (64, 48, 6)
            assert stream.average_rate == 30
            assert all(packet.is_keyframe for packet in container.demux(stream) if packet.size)
    (folder,) = (root / "motion_clips").iterdir()
    assert folder.name == "v1-20+10-6x48x64-2shapes-seed0"
    with pytest.raises(UserError, match="has 10 classes, but the model is built for 6"):
        motion_clips("val", **SMALL, num_classes=6)


def test_same_arguments_give_the_same_bytes(tmp_path):
    options = dict(num_frames=3, size=SIZE, num_shapes=1)
    for folder, count, seed in (("a", 10, 3), ("b", 10, 3), ("c", 10, 4), ("d", 12, 3)):
        generate_motion_clips(tmp_path / folder, count, seed, **options)
    first = files_below(tmp_path / "a")
    assert len(set(first.values())) == 10 and first == files_below(tmp_path / "b")
    assert not set(first.values()) & set(files_below(tmp_path / "c").values())
    # A larger set begins with the smaller one's clips.
    assert first.items() <= files_below(tmp_path / "d").items()


def test_arguments_out_of_range(root):
    with pytest.raises(UserError, match="split='test' of .* one of train, val"):
        motion_clips("test")
    for wrong in (dict(num_val=9), dict(num_frames=1), dict(num_shapes=0), dict(size=(40, 64))):
        with pytest.raises(UserError, match="Cannot draw .* at least 10 clips of 2 frames"):
            motion_clips("val", **(SMALL | wrong))
    assert list((root / "motion_clips").iterdir()) == []
