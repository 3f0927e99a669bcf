"""Key frames with their boxes and actions, the metadata, and what is dropped and logged."""

import pickle

import numpy as np
import pytest
from action_files import (
    LEFT,
    LEFT_TEXT,
    RIGHT,
    RIGHT_TEXT,
    annotated,
    fault,
    proposed,
    write_actions,
    write_clips,
    write_csv,
    write_text,
)
from detectron2.config import LazyCall as L
from detectron2.data import MetadataCatalog
from omegaconf import OmegaConf

from mvit_det.data import action_clips
from mvit_det.tasks import ActionDetection


def found(clips):
    """{(video, second): [(box as text, its actions)]}."""
    items = [clips[index] for index in range(len(clips))]
    return {
        (item["video"], item["second"]): [
            (",".join(f"{x:.4g}" for x in box), [1 + k for k in np.flatnonzero(labels)])
            for box, labels in zip(item["boxes"], item["labels"])
        ]
        for item in items
    }


# -------------------------------------------------------------------------------------------- items


def test_items(tmp_path, videos):
    clips = action_clips(videos, actions=write_actions(tmp_path / "a.csv", "ab"), num_classes=3)
    assert len(clips) == 6 and len(clips.frames.box) == 12 and clips.missing == []
    item = clips[4]
    assert item["file_name"] == f"{videos}/b.mp4"
    assert (item["video"], item["second"], item["time"]) == ("b", 2.0, 2.0)
    assert np.array_equal(item["boxes"], np.array([LEFT, RIGHT], np.float32))
    assert item["labels"].tolist() == [[1, 0, 1], [1, 0, 0]]
    assert item["boxes"].dtype == item["labels"].dtype == np.float32 and "fps" not in item
    item["boxes"][:] = 0
    assert clips[-2]["boxes"].any()  # items are copies
    with pytest.raises(IndexError):
        clips[6]


def test_column_of_each_action(tmp_path, videos):
    rows = [f"a,1,{LEFT_TEXT},{action},0" for action in (1, 8, 9, 80)]
    (item,) = action_clips(videos, actions=annotated(tmp_path, *rows))
    assert item["labels"].shape == (1, 80)
    assert np.flatnonzero(item["labels"]).tolist() == [0, 7, 8, 79]


def test_equal_boxes_are_merged_in_any_order_of_rows(tmp_path, videos):
    rows = [
        f"b,3,{LEFT_TEXT},2,0",
        f"a,2,{RIGHT_TEXT},1,5",
        f"b,0001,{LEFT_TEXT},1,0",
        f"a,2.0,{LEFT_TEXT},1,0",
        f"a,02,{RIGHT_TEXT},3,6",
        f"b,1,{RIGHT_TEXT},1,0",
        f"b,1.5,{RIGHT_TEXT},1,0",
        f"a,2,{RIGHT_TEXT.replace('0.2', '0.200')},2,5",
    ]
    clips = action_clips(videos, actions=annotated(tmp_path, *rows), num_classes=3)
    assert list(found(clips).items()) == [
        (("b", 1.0), [(LEFT_TEXT, [1]), (RIGHT_TEXT.replace("1.0", "1"), [1])]),
        (("b", 1.5), [(RIGHT_TEXT.replace("1.0", "1"), [1])]),
        (("b", 3.0), [(LEFT_TEXT, [2])]),
        (("a", 2.0), [(RIGHT_TEXT.replace("1.0", "1"), [1, 2, 3]), (LEFT_TEXT, [1])]),
    ]


@pytest.mark.parametrize("place", range(4))
def test_boxes_that_differ_in_one_number_are_two(tmp_path, videos, place):
    other = [0.05 if number == place else x for number, x in enumerate((0.1, 0.2, 0.5, 0.6))]
    other[2:] = [x + 0.4 * (x < 0.1) for x in other[2:]]
    box = [("0.1,0.2,0.5,0.6", action) for action in (1, 2)]
    rows = [box[0], (",".join(map(str, other)), 3), box[1]]
    actions = annotated(tmp_path, *(f"a,1,{text},{action},0" for text, action in rows))
    ((first, second),) = found(action_clips(videos, actions=actions)).values()
    assert first == (box[0][0], [1, 2]) and second[1] == [3]


def test_proposals_are_added_to_annotated_boxes_in_training(tmp_path, videos):
    actions = annotated(tmp_path, f"a,1,{LEFT_TEXT},1,0", "a,3")
    rows = [
        f"a,1,{LEFT_TEXT},3,0.99",  # an annotated box, with another action
        "a,1,0.1,0.2,0.3,0.4,,0.8",
        "a,1,0.2,0.2,0.3,0.4,-1,0.7999",
        "a,2,0.3,0.2,0.4,0.4,-1,1",
    ]
    proposals = proposed(tmp_path, *rows)
    clips = action_clips(videos, actions=actions, proposals=[proposals], num_classes=3)
    assert found(clips) == {
        ("a", 1.0): [(LEFT_TEXT, [1, 3]), ("0.1,0.2,0.3,0.4", [])],
        ("a", 2.0): [("0.3,0.2,0.4,0.4", [])],
    }
    more = action_clips(videos, actions=actions, proposals=proposals, num_classes=3, min_score=0.5)
    assert len(more[0]["boxes"]) == 3


def test_proposals_replace_annotated_boxes_in_testing(tmp_path, videos, caplog):
    actions = annotated(tmp_path, f"a,1,{LEFT_TEXT},1,0", f"b,1,{LEFT_TEXT},1,0")
    proposals = proposed(tmp_path, "a,1,0.1,0.2,0.3,0.4,,0.9", "b,1,0.1,0.2,0.3,0.4,,0.1")
    options = dict(actions=actions, annotated_boxes=False, num_classes=3)
    clips = action_clips(videos, proposals=proposals, **options)
    assert found(clips) == {("a", 1.0): [("0.1,0.2,0.3,0.4", [])]}
    caplog.set_level("INFO")
    assert list(found(action_clips(videos, **options)).values()) == [[(LEFT_TEXT, [1])]] * 2
    assert "no proposals are given; the annotated boxes are used" in caplog.text


def test_start_and_range_of_seconds(tmp_path, videos):
    actions = write_actions(tmp_path / "a.csv", "ab", (901, 902, 903))
    clips = action_clips(videos, actions=actions, start=900, seconds=(902, 1798))
    assert [clips[index]["second"] for index in range(4)] == [902, 903, 902, 903]
    assert [clips[index]["time"] for index in range(4)] == [2, 3, 2, 3] and len(clips) == 4


def test_folders_of_frames(tmp_path):
    folder = write_clips(tmp_path / "frames", ["a", "b"], fps=5, frames=True)
    actions = write_actions(tmp_path / "a.csv", "ab")
    clips = action_clips(folder, actions=actions, fps=5, frame_lists=[])
    assert clips[0]["file_name"] == f"{folder}/a" and clips[0]["fps"] == 5
    (folder / "a").rename(folder / "x_1")
    (folder / "b").rename(folder / "x_2")
    rows = ["original_vido_id video_id frame_id path labels"]
    rows += [
        f'{v} {n} {f} x_{n}/{v}_{f:06d}.jpg ""' for n, v in ((1, "a"), (2, "b")) for f in (1, 2)
    ]
    lists = [
        write_csv(tmp_path / "1.csv", rows[:3]),
        write_csv(tmp_path / "2.csv", rows[:1] + rows[3:]),
    ]
    clips = action_clips(folder, actions=actions, fps=5, frame_lists=lists)
    assert [clips[0]["file_name"], clips[5]["file_name"]] == [f"{folder}/x_1", f"{folder}/x_2"]
    message = fault(folder, actions=actions, fps=5, frame_lists=lists[0])
    assert "lacks 1 of the 2 videos" in message and "the frame lists lack" in message
    bad = write_csv(tmp_path / "3.csv", [*rows[:2], "a,1,2,x_1/1.jpg"])
    message = fault(folder, actions=actions, frame_lists=[bad])
    assert "3.csv, line 3, 'a,1,2,x_1/1.jpg', is not a row 'original_vido_id" in message
    assert "adds no video to the others" in fault(
        folder, actions=actions, frame_lists=[lists[0]] * 2
    )


def test_paths_relative_to_the_datasets_folder(tmp_path):
    root = tmp_path / "datasets" / "mine"
    write_clips(root / "videos" / "part", ["a.b", "c"])
    write_actions(root / "a.csv", ["a.b", "c.mp4"])  # a name may have its ending
    write_text(root / "map.txt")
    clips = action_clips(
        "mine/videos", actions="mine/a.csv", label_map="mine/map.txt", num_classes=3
    )
    names = {(clips[n]["video"], clips[n]["file_name"]) for n in range(6)}
    folder = root / "videos" / "part"
    assert names == {("a.b", f"{folder}/a.b.mp4"), ("c.mp4", f"{folder}/c.mp4")}


def test_copies_for_workers_are_small(tmp_path):
    """A box takes 16 bytes and a bit per action, a key frame 20."""
    folder = tmp_path / "videos"
    (folder / "a").mkdir(parents=True)
    rows = [f"a,{n // 2},0.1,0.1,0.2,{0.3 + n % 2 / 10},{1 + n % 80},0" for n in range(4000)]
    clips = action_clips(folder, actions=annotated(tmp_path, *rows))
    assert len(clips) == 2000 and len(clips.frames.box) == 4000
    copy = pickle.dumps(clips)
    assert len(copy) < 4000 * 26 + 2000 * 20 + 4000
    assert found(pickle.loads(copy)) == found(clips)


# ----------------------------------------------------------------------------------------- metadata


def test_metadata(tmp_path, videos):
    actions = write_actions(tmp_path / "a.csv", "abx")
    label_map = write_text(tmp_path / "map.pbtxt")
    excluded = write_csv(tmp_path / "excluded.csv", ["a,0001"])
    clips = action_clips(
        *(videos,),
        actions=[actions],
        name="registered",
        num_classes=3,
        label_map=label_map,
        excluded=excluded,
        seconds=(1, 2),
        max_missing=0.5,
    )
    assert len(clips) == 4  # excluded seconds stay
    metadata = MetadataCatalog.get("registered")
    assert metadata.ground_truth == [str(actions)] and metadata.excluded == str(excluded)
    assert metadata.label_map == str(label_map) and metadata.seconds == (1, 2)
    assert metadata.actions == {1: "stand", 3: "bend/bow (at the waist)"}
    assert metadata.num_classes == 3 and metadata.missing_videos == clips.missing == ["x"]
    action_clips(videos, actions=write_actions(actions, "ab"), name="registered", num_classes=3)
    metadata = MetadataCatalog.get("registered")
    assert metadata.actions == {1: "action 1", 2: "action 2", 3: "action 3"}
    assert metadata.label_map is metadata.excluded is metadata.seconds is None


def test_categories_of_a_config(tmp_path):
    """The evaluated actions, which are fewer than the outputs of the model."""
    cfg = OmegaConf.create({"model": {"num_classes": 3}, "dataloader": {"test": {}}})
    node = L(action_clips)(videos="no", actions="no.csv", num_classes="${model.num_classes}")
    cfg.dataloader.test.dataset = node
    names = [each["name"] for each in ActionDetection().data_categories(cfg)]
    assert names == ["action 1", "action 2", "action 3"]
    cfg.dataloader.test.dataset.label_map = str(write_text(tmp_path / "map.txt"))
    stand, bend = {"id": 1, "name": "stand"}, {"id": 3, "name": "bend/bow (at the waist)"}
    assert ActionDetection().data_categories(cfg) == [stand, bend]
    cfg.dataloader.test.dataset.label_map = "nowhere.pbtxt"
    assert ActionDetection().data_categories(cfg) is None


# ------------------------------------------------------------------------------ dropped and listed


def test_invalid_boxes_are_dropped(tmp_path, videos, caplog):
    rows = [
        "a,1,0.5,0.1,0.4,0.9,1,0",  # x2 < x1
        "a,1,0.1,0.5,0.4,0.5,1,0",  # y2 = y1
        "a,1,1.2,0.1,1.5,0.9,1,0",  # outside
        "a,1,-0.2,0.1,0.4,1.3,1,0",  # extends beyond the frame
        "a,1,-0.004,0.1,0.4,1.0001,2,0",  # by rounding
        "a,2,0.1,0.1,0.2,0.2,1,0",
        "a,3,0.1,0.1,0.2,0.2,1,0",
    ]
    clips = action_clips(videos, actions=annotated(tmp_path, *rows), num_classes=3)
    # two boxes are equal only after clipping
    assert found(clips)["a", 1.0] == [("0,0.1,0.4,1", [1]), ("0,0.1,0.4,1", [2])]
    assert (
        "2 rows have a box without area (x2 <= x1 or y2 <= y1) and are dropped: line 1, 2"
        in caplog.text
    )
    assert "1 rows have a box outside the frame and are dropped: line 3" in caplog.text
    assert "1 rows have a box beyond the frame and are clipped to it: line 4" in caplog.text


def test_repeated_annotations_are_logged(tmp_path, videos, caplog):
    row = f"a,1,{LEFT_TEXT},1,"
    first = annotated(
        tmp_path, row + "0", f"a,1,{LEFT_TEXT},2,0", f"a,2,{LEFT_TEXT},1,0", row + "1"
    )
    second = write_csv(tmp_path / "more.csv", [f"a,2,{RIGHT_TEXT},1,0"])
    clips = action_clips(videos, actions=[first, second], num_classes=3)
    assert [len(clips[index]["boxes"]) for index in range(2)] == [1, 2]
    assert "1 rows repeat an earlier one (same key frame, box and action): line 4" in caplog.text
    assert "more.csv: 1 key frames are annotated in another file as well" in caplog.text


def test_key_frames_without_annotation_are_logged(tmp_path, videos, caplog):
    actions = annotated(tmp_path, f"a,1,{LEFT_TEXT},1,0", "a,2")
    proposals = proposed(tmp_path, *(f"a,{n},0.1,0.2,0.3,0.4,,0.9" for n in (1, 2, 3)))
    action_clips(videos, actions=actions, proposals=proposals)
    assert "1 key frames are not annotated" in caplog.text and "('a', 3.0)" in caplog.text
    # a video whose only row has no box is known as well
    clips = action_clips(videos, actions=annotated(tmp_path, "a,1"), proposals=proposals)
    assert len(clips) == 3


def test_absent_videos_are_left_out_up_to_a_share(tmp_path, videos, caplog):
    actions = write_actions(tmp_path / "a.csv", ["x", "a", "y", "b"])
    clips = action_clips(videos, actions=actions, max_missing=0.5)
    assert {video for video, _ in found(clips)} == {"a", "b"} and clips.missing == ["x", "y"]
    assert (
        f"2 of 4 videos are not in {videos}, and their key frames are left out: x, y" in caplog.text
    )
    message = fault(videos, actions=actions, max_missing=0.4)
    assert f"The folder of videos {videos} lacks 2 of the 4 videos of {actions} (x, y;" in message
    assert "looked for x.mp4, .mkv, ... or a folder of frames x" in message
    message = fault(videos, actions=write_actions(actions, ["x"]), max_missing=1)
    assert "lacks 1 of the 1 videos" in message


def test_videos_that_differ_only_in_the_ending(tmp_path, caplog):
    folder = write_clips(tmp_path / "videos", ["a", "b"])
    (folder / "a.mp4").rename(folder / "a.avi")
    (folder / "b.avi").write_bytes((folder / "b.mp4").read_bytes())
    clips = action_clips(folder, actions=write_actions(tmp_path / "a.csv", ["a", "b"]))
    assert {clip["file_name"] for clip in clips} == {str(folder / "a.avi"), str(folder / "b.mp4")}
    assert "these 1 are not used: b.avi" in caplog.text


def test_actions_without_a_name_or_a_box_are_logged(tmp_path, videos, caplog):
    caplog.set_level("INFO")
    label_map = write_text(tmp_path / "map.txt", "1: stand\n4: dance\n")
    actions = write_actions(tmp_path / "a.csv", "ab")
    clips = action_clips(videos, actions=actions, label_map=label_map)
    assert clips[0]["labels"].sum() == 3  # they are trained
    assert "the actions 3 are not in" in caplog.text and "no box shows dance" in caplog.text
