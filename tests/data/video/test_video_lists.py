"""Published formats of lists of videos, and the error messages of their readers."""

import json

import pytest

from mvit_det.data.class_labels import given_classes
from mvit_det.data.video.lists import read_video_list
from mvit_det.errors import UserError

TEMPLATES = ["Approaching something", "Holding something next to something", "Moving something up"]


def read(path, text, **options):
    path.write_bytes(text.encode("utf-8", **options))
    return read_video_list(path)


def rows(found):
    return list(zip(found.names, found.numbers.tolist()))


@pytest.mark.parametrize(
    "text",
    [
        "a/1.mp4 3\nb/2.mp4 0\n",  # PySlowFast, MMAction2
        "a/1.mp4,3\nb/2.mp4,0\n",  # PySlowFast with DATA.PATH_LABEL_SEPARATOR ","
        "a/1.mp4\t3\r\nb/2.mp4\t0\r\n",
        "\ufeffpath label\n\n# two videos\n  a/1.mp4   3\nb/2.mp4 0",
        'video,label\n"a/1.mp4", 3\n"b/2.mp4", 0\n',
    ],
    ids=["blank", "comma", "tab and CRLF", "mark, header, remark", "quoted"],
)
def test_path_and_label(tmp_path, text):
    found = read(tmp_path / "list.txt", text)
    assert rows(found) == [("a/1.mp4", 3), ("b/2.mp4", 0)]
    assert not found.folders and not found.stems
    word, lines = found.rows
    text = text.replace("\r", "").split("\n")
    assert word == "line" and ["1.mp4" in text[n - 1] for n in lines] == [True, False]


def test_the_last_column_is_the_label(tmp_path):
    text = "air drumming/x 1, take 2.mp4 7\nb/passing (in game)\t.mp4 12\n"
    found = read(tmp_path / "list.txt", text)
    assert rows(found) == [("air drumming/x 1, take 2.mp4", 7), ("b/passing (in game)\t.mp4", 12)]
    other = read(tmp_path / "list.csv", "a b, c 5.mp4,1\nd 4,2\n")
    assert rows(other) == [("a b, c 5.mp4", 1), ("d 4", 2)]


def test_a_name_may_begin_with_a_number_sign(tmp_path):
    found = read(tmp_path / "list.txt", "# remark\n#20_Rhythm_clap.avi 4\n#\n#\tof 2021\n")
    assert rows(found) == [("#20_Rhythm_clap.avi", 4)]
    with pytest.raises(UserError, match="line 1, '#remark', is not a row"):
        read(tmp_path / "list.txt", "#remark\na.mp4 1\n")


def test_names_that_are_not_utf8(tmp_path):
    found = read(tmp_path / "l.txt", "caf\udce9.mp4 1\n", errors="surrogateescape")
    assert rows(found) == [("caf\udce9.mp4", 1)]


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_folders_of_frames(tmp_path, separator):
    folders = ["some/dir one", "some/dir-2"] if separator == " " else ["some/dir 1", "some/dir 2"]
    table = [(folders[0], 163, 1), (folders[1], 122, 0)]
    text = "".join(separator.join(map(str, row)) + "\n" for row in table)
    assert rows(read(tmp_path / "list.txt", text)) == list(zip(folders, [1, 0]))


def test_the_annotation_of_kinetics(tmp_path):
    text = (
        "label,youtube_id,time_start,time_end,split,is_cc\n"
        '"tying knot (not on a tie)",---QUuC4vJs,84,94,train,0\n'
        "abseiling,0wR5jVB-WPk,417.0,427.0,train,0\n"
        '"air drumming",-#QbRBEz2s,0,10,train,1\n'
    )
    found = read(tmp_path / "train.csv", text)
    assert found.folders == ["abseiling", "air drumming", "tying knot (not on a tie)"]
    names = ["---QUuC4vJs_000084_000094", "0wR5jVB-WPk_000417_000427", "-#QbRBEz2s_000000_000010"]
    assert rows(found) == list(zip(names, [2, 0, 1]))
    assert found.stems and found.rows[1].tolist() == [2, 3, 4]


def test_another_header_of_kinetics(tmp_path):
    text = '"Label", "YouTube_ID", "time_start", "time_end"\nzumba,abc,1,11\n'
    assert rows(read(tmp_path / "train.csv", text)) == [("abc_000001_000011", 0)]


def write_something(folder, prefix="something-something-v2-", order=TEMPLATES):
    """Labels, and two videos each of training and validation."""
    labels = {name: str(number) for number, name in enumerate(order)}
    (folder / f"{prefix}labels.json").write_text(json.dumps(labels))
    entries = [
        ("7", "Moving [something] up"),
        ("3", "Approaching [something]"),
        ("5", "Holding [something] next to [something]"),
        ("9", "Moving [something] up"),
    ]
    entries = [dict(id=i, template=text, label="x", placeholders=["y"]) for i, text in entries]
    for split, part in (("train", entries[:2]), ("validation", entries[2:])):
        (folder / f"{prefix}{split}.json").write_text(json.dumps(part))
    return folder / f"{prefix}train.json"


@pytest.mark.parametrize("prefix", ["something-something-v2-", ""])
def test_something_something(tmp_path, prefix):
    """Classes have the order of the labels' file, not the alphabetical one."""
    order = TEMPLATES[::-1]
    found = read_video_list(write_something(tmp_path, prefix, order))
    assert rows(found) == [("7", 0), ("3", 2)] and found.stems
    assert found.folders == order and found.ordered
    assert found.rows[0] == "entry" and found.rows[1].tolist() == [1, 2]


def test_something_something_without_the_labels(tmp_path):
    path = write_something(tmp_path)
    (tmp_path / "something-something-v2-labels.json").unlink()
    found = read_video_list(path)
    assert found.folders == ["Approaching something", "Moving something up"] and not found.ordered


def frames_of(videos, labels='""'):
    """A list with three lines per video."""
    lines = [
        f"{video} {number} {frame} {video}/{video}_{frame + 1:06d}.jpg {labels}"
        for number, video in enumerate(videos)
        for frame in range(3)
    ]
    return "\n".join(["original_vido_id video_id frame_id path labels", *lines, ""])


def test_a_frame_list(tmp_path):
    write_something(tmp_path)
    found = read(
        tmp_path / "train.csv", frames_of(["7", "73", "9", "5"]) + '9 2 3 9/9_000004.jpg ""\n'
    )
    assert rows(found) == [("7", 2), ("9", 2), ("5", 1), ("9", 2)] and found.folders == TEMPLATES
    assert found.rows[1].tolist() == [2, 8, 11, 14] and found.frames.tolist() == [3, 4, 3, 4]
    assert found.ignored == "1 videos that the JSON files do not name"


def test_a_frame_list_of_another_data_set(tmp_path):
    write_something(tmp_path)
    with pytest.raises(
        UserError, match="has no usable row .2 videos that the JSON files do not name"
    ):
        read(tmp_path / "train.csv", frames_of(["73", "74"]))


def test_a_frame_list_with_labels(tmp_path):
    found = read(tmp_path / "train.csv", frames_of(["7", "73"], '"4"'))
    assert rows(found) == [("7", 4), ("73", 4)] and not found.folders
    for labels in ('""', '"4,5"', "-1", "99999999999999999999"):
        with pytest.raises(
            UserError, match="train.csv, line 2: the label .* is not a number of at least 0: put"
        ):
            read(tmp_path / "train.csv", frames_of(["7"], labels))


# ------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("\n \n# nothing\n", "list.txt is empty: write a row"),
        ("path label\n", "list.txt has no row: write one"),
        ("\0\0\0 ftypisom", "list.txt is not a text file"),
        ("a.mp4 1\nb.mp4 two\n", r"list.txt, line 2, 'b.mp4 two', .* has the label 'two': correct"),
        (f"a.mp4 1\nb.mp4 {10**30}\n", "line 2, 'b.mp4 10+', is not .* numbers from 0 to 999999"),
        ('"",1\n', r"line 1, '\"\",1', is not a row .* one column only"),
        ("a.mp4 1\n\nb.mp4\n", r"line 3, 'b.mp4', is not a row .* one column only"),
        ("a.mp4,1\nb.mp4 2\n", r"line 2, 'b.mp4 2', is not a row"),
        ("a.mp4 0 3\nb.mp4 0 2\n", r"line 1: 'a.mp4 0' is followed by a label, but not by"),
        ("a.mp4 0 3\nb.mp4 0 2 4\n", r"line 1: 'a.mp4 0' is .* \(several labels are not supported"),
        ("d 12 16 3\ne 0 20 1\n", r"line 1: there are three numbers .* parts of a video"),
        (
            "label,youtube_id,time_start,time_end\nx,abc,1\n",
            r"line 2, 'x,abc,1', does not have the",
        ),
        ("label,youtube_id,time_start,time_end\nx,abc,1,inf\n", r"line 2, .* times in seconds"),
        (
            'label,youtube_id,time_start,time_end\nx,a,1,2\n"y,b,1,2\nz"",c,1,2\n',
            r"line 3, '\"y,b,1,2', does not have",  # and nothing of line 4
        ),
        (f"label,youtube_id,time_start,time_end\n{'x' * 200_000},a,1,2\n", "line 2, .* not have"),
        ("youtube_id,time_start,time_end,split\nabc,1,2,test\n", "lacks the column label: give an"),
        ("original_vido_id video_id\n1 2\n", "line 2, '1 2', is not a row 'original"),
        ('{"labels": 1}', "list.txt is not a list of videos with labels"),
        ('[{"id": "1", "template": "x"}, {"id": "2"}]', "list.txt, entry 2: an id and a template"),
        ('[{"id": "1",\n', "valid JSON: line 2"),
    ],
)
def test_invalid_lists(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        read(tmp_path / "list.txt", text)


def test_a_template_that_is_not_a_class(tmp_path):
    path = write_something(tmp_path, order=TEMPLATES[1:])
    with pytest.raises(
        UserError, match="entry 2: 'Approaching something' is not among the classes"
    ):
        read_video_list(path)


def test_a_list_that_is_a_folder(tmp_path):
    with pytest.raises(UserError, match="cannot be read .Is a directory"):
        read_video_list(tmp_path)


# ------------------------------------------------------------------------------------------ classes


def test_the_classes_of_kinetics_are_known_without_data():
    folders, names = given_classes("kinetics-400")
    assert folders == names == sorted(names) and len(set(names)) == 400
    places = {0: "abseiling", 1: "air drumming", 5: "archery", 398: "yoga", 399: "zumba"}
    assert {label: names[label] for label in places} == places


def test_classes_by_number(tmp_path):
    path = tmp_path / "classes.json"
    assert given_classes([0, 1]) == (["0", "1"], ["0", "1"])
    path.write_text(json.dumps({'"riding a bike"': 1, "archery": "0"}))  # quoted as in PySlowFast's
    assert given_classes(path)[0] == ["archery", "riding a bike"]
    for table in ({"a": 0, "b": 2}, {"a": "x"}, ["a"]):
        path.write_text(json.dumps(table))
        with pytest.raises(UserError, match="has no index for each class"):
            given_classes(path)
