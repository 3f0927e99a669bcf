"""Generated figures: actions differ only in motion; boxes cover figures; files as those of AVA."""

from collections import defaultdict
from importlib import import_module

import av
import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from generated_files import files_below
from torchvision.ops import box_iou

from mvit_det.ava_files import read_boxes, read_label_map
from mvit_det.data.synthetic.moving_figures import (
    ACTIONS,
    FPS,
    USED_DIALS,
    action_ids,
    dials_over_time,
    draw_video,
    false_boxes,
    generate_moving_figures,
    jitter_boxes,
    moving_figures,
    random_directions,
)
from mvit_det.errors import UserError

# what the package exports under this name is the function
module = import_module("mvit_det.data.synthetic.moving_figures")
SIDE = 120
SMALL = dict(num_train=2, num_val=1, num_seconds=3, side=SIDE)
NAMES = list(ACTIONS)


def ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return box_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()


def directions_of(*names: str) -> np.ndarray:
    directions = np.zeros(len(USED_DIALS), int)
    for dial, direction in map(ACTIONS.get, names):
        directions[USED_DIALS.index(dial)] = direction
    return directions


def test_reversed_video_has_the_opposite_actions_bit_for_bit():
    """So an action and its opposite have the same sets of frames and of boxes."""
    video = draw_video(np.random.default_rng(3), 3, SIDE)
    opposite = draw_video(np.random.default_rng(3), 3, SIDE, directions=-video.directions[::-1])
    assert np.array_equal(video.frames[::-1], opposite.frames)
    assert not np.array_equal(video.frames, opposite.frames)
    np.testing.assert_allclose(video.boxes[::-1], opposite.boxes, atol=1e-12)
    for directions, turned in zip(video.directions[1], opposite.directions[-2]):
        done, undone = (
            [ACTIONS[NAMES[i - 1]] for i in action_ids(each)] for each in (directions, turned)
        )
        assert done and sorted(undone) == sorted((dial, -direction) for dial, direction in done)


@pytest.mark.parametrize("frame", [0, FPS, 2 * FPS - 4, 3 * FPS])
def test_dials_are_uniform_for_every_action(frame):
    """Kolmogorov-Smirnov test (p = 0.001 at 1.95) against uniformity, and no correlation."""
    for number, name in enumerate(NAMES):
        rng = np.random.default_rng([5, number])
        directions = np.tile(directions_of(name), (4, 2000, 1))
        dials = dials_over_time(rng, directions)[frame]
        assert dials.shape == (2000, len(USED_DIALS)) and dials.min() >= 0 and dials.max() < 1
        steps = np.arange(1, 2001)[:, None] / 2000
        assert np.abs(np.sort(dials, axis=0) - steps).max() * np.sqrt(2000) < 1.95
        waves = np.exp(2j * np.pi * dials)
        together = np.abs(waves.T @ waves.conj() - np.diag(np.full(4, 2000))) / 2000
        assert together.max() < 0.1


def test_appearance_at_the_key_frame_is_independent_of_the_action():
    """Compares place, size, brightness and edges of figures with and without each action."""
    looks, done = [], []
    for seed in range(40):
        video = draw_video(np.random.default_rng([6, seed]), 3, SIDE)
        for second in (1, 2):
            frame = video.frames[second * FPS].mean(axis=-1)
            for box, directions in zip(video.boxes[second], video.directions[second]):
                x1, y1, x2, y2 = np.round(box * SIDE).astype(int)
                inside = frame[y1:y2, x1:x2]
                edges = [np.abs(np.diff(inside, axis=axis)).mean() for axis in (0, 1)]
                within = (box * SIDE) % (SIDE / 2)
                looks.append([*within, inside.mean(), inside.std(), *edges])
                done.append(np.isin(np.arange(1, 9), action_ids(directions)))
    looks, done = np.array(looks), np.array(done)
    assert len(looks) > 200 and done.sum(axis=0).min() > 20
    looks = (looks - looks.mean(axis=0)) / looks.std(axis=0)
    for action in done.T:
        apart = looks[action].mean(axis=0) - looks[~action].mean(axis=0)
        assert np.abs(apart / np.sqrt(1 / action.sum() + 1 / (~action).sum())).max() < 3.9


def test_one_to_three_dials_turn_around_a_whole_second():
    rng = np.random.default_rng(7)
    directions = random_directions(rng, 5, 300)
    assert directions.shape == (6, 300, 4)
    counts = np.bincount(np.abs(directions).sum(axis=2).ravel(), minlength=5) / (6 * 300)
    assert counts[[0, 4]].max() == 0 and np.abs(counts[1:4] - 1 / 3).max() < 0.05
    # two of four dials on average, half of them in each direction
    shares = np.stack([(directions == direction).mean(axis=(0, 1)) for direction in (1, -1)])
    assert np.abs(shares - 0.25).max() < 0.04

    dials = dials_over_time(rng, directions)
    assert len(dials) == 5 * FPS + 1
    steps = np.mod(np.diff(dials, axis=0) + 0.5, 1) - 0.5
    for second in range(6):
        # all frames of a clip that is 8 frames long and 3 in 30 of a second from one to the next
        around = steps[max(FPS * second - 4, 0) : FPS * second + 3]
        assert np.array_equal(
            np.sign(np.round(around, 9)), np.broadcast_to(directions[second], around.shape)
        )
    assert 0.029 < np.abs(steps[np.abs(steps) > 1e-9]).min() and np.abs(steps).max() < 0.061


def test_boxes_cover_their_figures_and_follow_them():
    """Pixels that change between two seconds are inside the boxes before or after the change."""
    for seed in range(8):
        video = draw_video(np.random.default_rng([8, seed]), 3, SIDE)
        count = video.boxes.shape[1]
        assert 2 <= count <= 4 and video.boxes.min() >= 0 and video.boxes.max() <= 1
        for boxes in video.boxes:
            assert np.count_nonzero(ious(boxes, boxes)) == count  # each with itself alone
        for one, two in ((0, 1), (1, 2)):
            frames = video.frames[[one * FPS, two * FPS]].astype(int)
            changed = np.abs(frames[1] - frames[0]).sum(axis=-1) > 6
            assert changed.sum() > 20
            inside = np.zeros((SIDE, SIDE), bool)
            for box in video.boxes[[one, two]].reshape(-1, 4) * SIDE:
                # smoothed edges reach one pixel further
                x1, y1 = np.floor(box[:2]).astype(int) - 1
                x2, y2 = np.ceil(box[2:]).astype(int) + 1
                inside[max(y1, 0) : y2, max(x1, 0) : x2] = True
            assert not (changed & ~inside).any()


def quarter_turns(rng: np.random.Generator, directions: np.ndarray) -> np.ndarray:
    """Replace `dials_over_time`: from the middle of each dial, a quarter of a turn per second."""
    rng.uniform(size=(2, *directions.shape[1:]))
    times = np.arange(FPS * (len(directions) - 1) + 1) / FPS
    return 0.5 + 0.25 * times[:, None, None] * directions[0]


def test_figures_move_as_their_actions_are_named(monkeypatch):
    monkeypatch.setattr(module, "dials_over_time", quarter_turns)
    for name in NAMES:
        video = draw_video(
            np.random.default_rng(3), 1, SIDE, np.tile(directions_of(name), (2, 4, 1))
        )
        assert video.boxes.shape == (2, 4, 4)
        (x1, y1, x2, y2), (u1, v1, u2, v2) = np.moveaxis(video.boxes, 2, 1)
        moved = np.stack([u1 + u2 - x1 - x2, v1 + v2 - y1 - y2, (u2 - u1) - (x2 - x1)], axis=1)
        wanted = {"right": [1, 0, 0], "left": [-1, 0, 0], "down": [0, 1, 0], "up": [0, -1, 0]}
        wanted |= {"grows": [0, 0, 1], "shrinks": [0, 0, -1]}
        assert (np.sign(np.round(moved, 9)) == wanted.get(name, [0, 0, 0])).all()
        if name not in wanted:
            places = [
                dot(frame, box) for frame, box in zip(video.frames[[0, FPS]], video.boxes[:, 0])
            ]
            (x, y), (u, v) = places
            # rows count downwards, so that a turn from right to down is clockwise
            assert (x * v - y * u) * (1 if name == "clockwise" else -1) > 10


def dot(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the position of a figure's black dot: x, y in pixels from the middle of its box."""
    x1, y1, x2, y2 = np.round(box * SIDE).astype(int)
    light = frame[y1:y2, x1:x2].sum(axis=-1)
    y, x = (np.argwhere(light < light.min() + 15).mean(axis=0) - np.array(light.shape) / 2).tolist()
    return np.array([x, y])


def test_detected_boxes():
    rng = np.random.default_rng(10)
    boxes = draw_video(rng, 1, SIDE).boxes[0]
    best = np.stack([ious(jitter_boxes(rng, boxes), boxes).diagonal() for _ in range(200)])
    assert 0.55 < best.min() < 0.75 and best.max() < 1
    false = [false_boxes(rng, boxes, SIDE) for _ in range(300)]
    assert 20 < sum(map(len, false)) <= 180
    assert all(ious(box, boxes).max() <= 0.2 for box in false if len(box))


def test_files_and_items(root):
    train = moving_figures("train", **SMALL, name="moving_figures_test")
    val = moving_figures("val", **SMALL)
    assert len(train) == 4 and len(val) == 2  # two key frames a video
    (folder,) = (root / "moving_figures").iterdir()
    assert folder.name == "v1-2+1-3s-120px-seed0"
    assert read_label_map(folder / "val" / "label_map.pbtxt") == dict(enumerate(ACTIONS, 1))
    assert MetadataCatalog.get("moving_figures_test").actions == dict(enumerate(ACTIONS, 1))
    for split, data in (("train", train), ("val", val)):
        seeds = [0, int(split == "val")]
        truth, found = (
            read_boxes(folder / split / f"{kind}.csv", kind) for kind in ("actions", "proposals")
        )
        assert (truth.action > 0).all() and set(truth.second) == {1.0, 2.0}
        drawn = [
            draw_video(np.random.default_rng([*seeds, i]), 3, SIDE) for i in range(len(data) // 2)
        ]
        rows = defaultdict(list)
        for video, second, box, action in zip(truth.video, truth.second, truth.box, truth.action):
            rows[(truth.videos[video], second, *box)].append(int(action))
        wanted = {
            (f"{i:05d}", float(second), *np.round(box, 4)): action_ids(directions)
            for i, video in enumerate(drawn)
            for second in (1, 2)
            for box, directions in zip(video.boxes[second], video.directions[second])
        }
        assert dict(rows) == wanted
        assert np.any(found.action > 0) == (split == "train")
        for item in data:
            with av.open(item["file_name"]) as container:
                stream = container.streams.video[0]
                assert (stream.width, stream.height, stream.frames) == (SIDE, SIDE, 3 * FPS + 1)
                assert stream.average_rate == FPS
            video = drawn[int(item["video"])]
            boxes, directions = (
                each[int(item["second"])] for each in (video.boxes, video.directions)
            )
            figures = ious(item["boxes"].astype(np.float64), boxes)
            assert (figures.max(axis=0) > 0.5).all()
            assert len(figures) >= len(boxes) * (2 if split == "train" else 1)
            for row, labels in zip(figures, item["labels"]):
                covered = split == "train" and row.max() > 0.5
                expected = action_ids(directions[row.argmax()]) if covered else []
                assert (np.flatnonzero(labels) + 1).tolist() == expected


def test_same_arguments_give_the_same_bytes(tmp_path):
    for folder, count, seed in (("a", 1, 3), ("b", 1, 3), ("c", 1, 4), ("d", 2, 3)):
        generate_moving_figures(tmp_path / folder, count, seed, num_seconds=2, side=SIDE)
    first, other, more = (files_below(tmp_path / folder) for folder in "acd")
    assert first == files_below(tmp_path / "b")
    assert first["videos/00000.mp4"] != other["videos/00000.mp4"]
    # A larger set begins with the smaller one's videos.
    assert all(more[name].startswith(content) for name, content in first.items())


def test_arguments_out_of_range(root):
    with pytest.raises(UserError, match="split='test' of .* one of train, val"):
        moving_figures("test")
    for wrong in (dict(num_train=0), dict(num_seconds=1), dict(side=100)):
        with pytest.raises(UserError, match="Cannot draw .* at least 1 video, 2 seconds and 117 p"):
            moving_figures("val", **(SMALL | wrong))
    assert list((root / "moving_figures").iterdir()) == []
