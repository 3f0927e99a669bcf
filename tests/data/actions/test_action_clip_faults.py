"""Unusable files of key frames: each raises one sentence."""

import pytest
from action_files import (
    LABEL_MAP,
    LEFT_TEXT,
    annotated,
    fault,
    proposed,
    write_actions,
    write_clips,
    write_text,
)

from mvit_det.data import action_clips


def test_an_action_id_above_the_number_of_outputs(tmp_path, videos):
    actions = annotated(tmp_path, f"a,1,{LEFT_TEXT},80,0", f"a,1,{LEFT_TEXT},81,0")
    message = fault(videos, actions=actions)
    assert message.startswith(f"{actions}, line 2, has action=81, but the model is built for")
    proposals = proposed(tmp_path, f"a,1,{LEFT_TEXT},9,0.1")  # below the score as well
    message = fault(videos, actions=write_actions(actions, "a"), proposals=proposals, num_classes=8)
    assert message.startswith(f"{proposals}, line 1, has action=9")


@pytest.mark.parametrize(
    "text, sentence",
    [
        (LABEL_MAP, "has the id 3 (bend/bow (at the waist)), but the model is built for"),
        ("2: sit\n", "Not one action of"),
        ("sit\n", "line 1, is 'sit': it must be AVA's .pbtxt"),
    ],
)
def test_label_maps_of_other_data(tmp_path, videos, text, sentence):
    label_map = write_text(tmp_path / "map.txt", text)
    actions = annotated(tmp_path, f"a,1,{LEFT_TEXT},1,0")
    assert sentence in fault(videos, actions=actions, label_map=label_map, num_classes=2)


def test_width_and_height_in_place_of_a_corner(tmp_path, videos):
    actions = annotated(tmp_path, *(f"a,1,0.{x},0.1,0.4,0.5,1,0" for x in range(2, 8)))
    message = fault(videos, actions=actions)
    assert f"{actions}, line 3: x2 <= x1 or y2 <= y1 there and in 4 of 6 rows" in message


def test_files_of_different_data_sets(tmp_path, videos):
    actions = write_actions(tmp_path / "a.csv", "a")
    proposals = proposed(tmp_path, "b,1,0.1,0.2,0.3,0.4,,0.9")
    assert "have no video in common" in fault(videos, actions=actions, proposals=proposals)
    assert "is given twice" in fault(videos, actions=[actions, actions])
    assert "at least one csv file" in fault(videos, actions=[])
    assert "is given twice" in fault(videos, actions=actions, proposals=actions)
    assert "give the file as proposals" in fault(videos, actions=proposals)


def test_missing_files(tmp_path, videos):
    actions = write_actions(tmp_path / "a.csv", "ab")
    assert "The folder of videos nowhere does not exist" in fault("nowhere", actions=actions)
    assert "is a file: give the folder" in fault(actions, actions=actions)
    assert "The file of actions no.csv does not exist" in fault(videos, actions="no.csv")
    assert "label map no.txt does not exist" in fault(videos, actions=actions, label_map="no.txt")
    for word in ("excluded", "proposals", "frame_lists"):
        assert "no.txt does not exist" in fault(videos, actions=actions, **{word: "no.txt"})


def test_no_key_frame_left(tmp_path, videos, caplog):
    actions = write_actions(tmp_path / "a.csv", "ab")
    message = fault(videos, actions=actions, seconds=(902, 1798))
    assert "from second 1 to 3, but none within seconds=(902, 1798)" in message
    proposals = proposed(tmp_path, "a,1,0.1,0.2,0.3,0.4,,0.5")
    message = fault(videos, actions=actions, proposals=proposals, annotated_boxes=False)
    assert f"{proposals} leave no key frame with a box" in message and "min_score" in message
    assert "no box has a score of 0.8 or more (the highest is 0.5)" in caplog.text
    assert "leave no key frame" in fault(videos, actions=annotated(tmp_path, "a,1", "a,2"))


@pytest.mark.parametrize("frames", [False, True], ids=["files", "frames"])
def test_key_frames_outside_the_videos(tmp_path, videos, frames, caplog):
    folder, fps = videos, None
    if frames:
        folder, fps = write_clips(tmp_path / "frames", "ab", frames=True), 10
    cut = write_actions(tmp_path / "cut.csv", "ab", (901, 902, 903, 905))
    message = fault(folder, actions=cut, fps=fps)
    assert "is 4.0 seconds long, but has a key frame at second 905" in message
    assert "set start=900" in message
    # a second after the end is rounding
    assert len(action_clips(folder, actions=cut, start=900, fps=fps)) == 8
    late = write_actions(tmp_path / "late.csv", "ab", (1, 6))
    message = fault(folder, actions=late, fps=fps)
    assert "is 4.0 seconds long, but has a key frame at second 6" in message
    assert ("set fps" in message) == frames
    message = fault(folder, actions=late, start=2, fps=fps)
    assert "has a key frame at second 1, which is before start=2: set start" in message
    rows = [f"{v},{s},{LEFT_TEXT},1,0" for v, s in (("a", 3), ("b", 6))]
    assert len(action_clips(folder, actions=annotated(tmp_path, *rows), fps=fps)) == 2
    assert "1 of the 2 opened videos end before" in caplog.text


def test_whole_movies_with_the_start_of_parts(tmp_path):
    folder = write_clips(tmp_path / "frames", "ab", frames=True)  # 40 frames each
    actions = write_actions(tmp_path / "a.csv", "ab", (901, 1790))
    message = fault(folder, actions=actions, start=900, fps=40 / 2000)
    assert "is 2000 seconds long" in message and "set start=0" in message
    assert len(action_clips(folder, actions=actions, start=0, fps=40 / 2000)) == 4
    assert len(action_clips(folder, actions=actions, start=900, fps=40 / 901)) == 4
    few = write_actions(tmp_path / "few.csv", "ab", (902,))
    assert len(action_clips(folder, actions=few, start=900, fps=40 / 1200)) == 2


def test_videos_that_cannot_be_read_are_left_to_the_mapper(tmp_path):
    folder = tmp_path / "videos"
    (folder / "b").mkdir(parents=True)
    (folder / "a.mp4").write_bytes(b"no video")
    assert len(action_clips(folder, actions=write_actions(tmp_path / "a.csv", "ab"))) == 6


@pytest.mark.parametrize("name", ["start", "min_score", "max_missing", "fps"])
def test_settings_that_are_not_numbers(tmp_path, videos, name):
    actions = write_actions(tmp_path / "a.csv", "ab")
    message = fault(videos, actions=actions, **{name: "1,5"})
    assert message.startswith(f"{name}='1,5' of action_clips must be a number")


@pytest.mark.parametrize("seconds", [(2, 1), (1,), "12", ("1", "2"), [1, 2, 3]])
def test_invalid_ranges_of_seconds(tmp_path, videos, seconds):
    actions = write_actions(tmp_path / "a.csv", "ab")
    assert "of action_clips must be two numbers, a smallest" in fault(
        videos, actions=actions, seconds=seconds
    )
