"""Reading and writing AVA's files, and the error messages of the readers."""

import gzip
import json

import numpy as np
import pytest

from mvit_det.ava_files import (
    BoxTable,
    detections,
    read_boxes,
    read_excluded,
    read_label_map,
    write_detections,
)
from mvit_det.ava_files import rows as csv_rows
from mvit_det.errors import UserError

ACTIONS = [
    "-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1",
    "-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,9,1",
    "1j20qq1JyX4,1798,0.226,0.032,0.366,0.497,12,0",
]
# of the Long-Term Feature Banks, and of the detector that PySlowFast's configs name
PROPOSALS = [
    "1j20qq1JyX4,0902,0.036,0.098,0.55,0.979,,0.995518",
    "-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,0.9",
    "-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,9,0.9",
    "-5KQ66BBWC4,0903,0.010,0.010,0.500,0.900,-1,0.85",
]
DETECTIONS = [
    "1j20qq1JyX4,0902,0.036,0.098,0.55,0.979,12,0.25",
    "1j20qq1JyX4,0902,0.036,0.098,0.55,0.979,1,1e-7",
]
ROWS = {"actions": ACTIONS, "proposals": PROPOSALS, "detections": DETECTIONS}


def written(tmp_path, rows, end="\n"):
    path = tmp_path / "rows.csv"
    path.write_bytes("".join(row + end for row in rows).encode())
    return path


def fault(read, *args):
    """Return the sentence of the error that reading raises."""
    with pytest.raises(UserError) as error:
        read(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


# ------------------------------------------------------------------------------------------ reading


def test_annotations(tmp_path):
    table = read_boxes(written(tmp_path, ACTIONS), "actions")
    assert table.videos == ["-5KQ66BBWC4", "1j20qq1JyX4"] and len(table) == 3
    assert table.video.tolist() == [0, 0, 1] and table.video.dtype == np.int32
    assert table.second.tolist() == [902, 902, 1798]
    assert table.box[0].tolist() == [0.077, 0.151, 0.283, 0.811]
    assert table.action.tolist() == [80, 9, 12] and table.action.dtype == np.int64
    assert table.score.tolist() == [1, 1, 0]  # the persons
    assert table.line.tolist() == [1, 2, 3] and table.empty == []


def test_proposals_may_have_no_action(tmp_path):
    table = read_boxes(written(tmp_path, PROPOSALS), "proposals")
    assert table.action.tolist() == [0, 80, 9, 0]
    assert table.score.tolist() == [0.995518, 0.9, 0.9, 0.85]


@pytest.mark.parametrize("kind", ROWS)
def test_header_quotes_and_blank_lines_do_not_matter(tmp_path, kind):
    rows = ROWS[kind]
    plain = read_boxes(written(tmp_path, rows), kind)
    header = "video,second,x1,y1,x2,y2,action,last"
    quoted = [f'"{row.split(",")[0]}",' + row.split(",", 1)[1] for row in rows]
    blank = [header, "", *(part for row in quoted for part in (row, ""))]
    other = read_boxes(written(tmp_path, ["\ufeff" + blank[0], *blank[1:]], "\r\n"), kind)
    for column in ("videos", "video", "second", "box", "action", "score"):
        assert np.array_equal(getattr(plain, column), getattr(other, column)), column
    assert other.line.tolist() == [3 + 2 * row for row in range(len(rows))]


def test_person_ids_may_be_missing_or_text(tmp_path):
    rows = [ACTIONS[0], ACTIONS[1].removesuffix(",1"), ACTIONS[2].removesuffix("0") + "Ann"]
    assert str(read_boxes(written(tmp_path, rows), "actions").score.tolist()) == "[1.0, nan, nan]"


def test_key_frames_without_boxes(tmp_path):
    rows = ["b,5", ACTIONS[0], "a,0007.5", "b,0005"]
    table = read_boxes(written(tmp_path, rows), "actions")
    assert table.empty == [("b", 5.0), ("a", 7.5)]
    assert len(table) == 1 and table.line.tolist() == [2] and table.videos == ["-5KQ66BBWC4"]
    only = read_boxes(written(tmp_path, ["b,5"]), "detections")
    assert len(only) == 0 and only.box.shape == (0, 4) and only.empty == [("b", 5.0)]


def test_several_chunks_of_rows(tmp_path, monkeypatch):
    """More rows than a chunk, and the line number of an error in the last chunk."""
    monkeypatch.setattr(csv_rows, "_CHUNK", 40)
    rows = [f"v{n % 7},{n},0.1,0.2,0.3,{0.4 + n / 1e6:.6f},{1 + n % 80},{n % 3}" for n in range(90)]
    rows[38] = rows[45] = ""
    table = read_boxes(written(tmp_path, rows), "actions")
    kept = np.array([n for n in range(90) if n not in (38, 45)])
    assert np.array_equal(table.line, kept + 1) and np.array_equal(table.second, kept)
    assert [table.videos[v] for v in table.video] == [f"v{n % 7}" for n in kept]
    assert np.array_equal(table.action, 1 + kept % 80)
    rows[86] = rows[86].replace("0.1", "0.l")
    assert "line 87, 'v2,86,0.l," in fault(read_boxes, written(tmp_path, rows), "actions")


def test_integers_with_a_decimal_point(tmp_path):
    rows = ["v,902.0,0.1,0.1,0.2,0.2,12.0,3.0"]
    table = read_boxes(written(tmp_path, rows), "actions")
    assert table.action.tolist() == [12] and table.second.tolist() == [902]


@pytest.mark.parametrize(
    "text",
    [
        'item {\n  name: "bend/bow (at the waist)"\n  id: 1\n}\n'
        'item {\n  name: "a {b} \\"c\\""\n  id: 3\n}\n',
        "label {\n  label_id: 3\n  name: 'a {b} \"c\"'\n  label_type: PERSON\n}\n"
        'label { name: "bend/bow (at the waist)" label_id: 1 }',
        '# a remark\n3: a {b} "c"\n\n 1:bend/bow (at the waist) \n',
    ],
    ids=["pbtxt", "label_id", "lines"],
)
def test_label_maps(tmp_path, text):
    path = tmp_path / "map.txt"
    path.write_text(text)
    assert list(read_label_map(path).items()) == [
        (1, "bend/bow (at the waist)"),
        (3, 'a {b} "c"'),
    ]


def test_excluded_seconds(tmp_path):
    rows = ["video,second", "a,0902", "b,1000", "a,0902"]
    assert read_excluded(written(tmp_path, rows)) == {("a", 902.0), ("b", 1000.0)}


# ------------------------------------------------------------------------------------------ writing


def test_written_detections_are_read_back(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(detections, "_CHUNK", 150)  # not a multiple of the rows per box
    count = 400
    box = np.repeat(rng.random((count // 4, 4)).round(6), 4, axis=0)
    columns = dict(
        video=np.repeat(np.arange(2), count // 2).astype(np.int32),
        second=np.repeat(np.arange(count // 4) / 2, 4),
        box=box,
        action=np.tile([1, 3, 4, 80], count // 4),
        score=rng.random(count, dtype=np.float32) ** 9,
    )
    names = ["plain", 'a "b", c']
    path = tmp_path / "out.csv"
    empty = [("x,y", 3.25), ("z", 4.0)]
    write_detections(path, BoxTable(names, **columns, line=np.zeros(count), empty=empty))
    assert path.read_text().splitlines()[:2] == ['"x,y",3.25', "z,0004"]
    table = read_boxes(path, "detections")
    assert table.videos == names and table.empty == empty
    for column, values in columns.items():
        found = getattr(table, column)
        assert np.array_equal(found.astype(values.dtype), values), column


def test_written_text(tmp_path):
    path = tmp_path / "out.csv"
    box = np.array([[0.031, 0, 1, 0.9950001]], np.float32)
    columns = (
        [np.array(each) for each in ([0], [902.0])],
        [np.array(each) for each in ([12], [0.1])],
    )
    write_detections(path, BoxTable(["v"], *columns[0], box, *columns[1], np.array([1])))
    assert path.read_text() == "v,0902,0.031,0,1,0.995,12,0.1\n"


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "kind, row, sentence",
    [
        ("actions", "v,902,0.1,0.l,0.3,0.4,1,0", "y1='0.l': it must be a number"),
        ("actions", "v,902,nan,0.2,0.3,0.4,1,0", "x1='nan': it must be a number"),
        ("actions", "v,902,0.1,0.2,inf,0.4,1,0", "x2='inf': it must be a number"),
        ("actions", "v,,0.1,0.2,0.3,0.4,1,0", "second='': it must be a number"),
        ("actions", "v,15:02,0.1,0.2,0.3,0.4,1,0", "second='15:02': it must be a number"),
        ("actions", "v,-1,0.1,0.2,0.3,0.4,1,0", "second=-1: write the second of the video"),
        ("actions", ",902,0.1,0.2,0.3,0.4,1,0", "has no video name"),
        ("actions", "v,902,0.1,0.2,0.3,0.4", "has 6 column(s) instead of video,second,x1"),
        ("actions", "v,902,0.1,0.2,0.3,0.4,1,0,9", "has 9 column(s)"),
        ("actions", "v;902;0.1;0.2;0.3;0.4;1;0", "separate the columns by commas"),
        ("actions", "v,902,10,20,300,400,1,0", "are these pixels? Divide x by the width"),
        ("actions", "v,902,0.1,0.2,0.3,0.4,run,0", "action='run': it must be a number"),
        ("actions", "v,902,0.1,0.2,0.3,0.4,0,0", "action=0: it must be an id of the label map"),
        ("actions", "v,902,0.1,0.2,0.3,0.4,1.5,0", "action=1.5: it must be an id"),
        ("actions", "v,902,0.1,0.2,0.3,0.4,1e30,0", "action=1e+30: it must be an id"),
        ("actions", "v,902,0.1,0.2,0.3,0.4,,0", "no action: write its id; or, if these are person"),
        ("actions", "v,x", "second='x': it must be a number"),
        ("proposals", "v,902,0.1,0.2,0.3,0.4,1", "has 7 column(s) instead of"),
        ("proposals", "v,902,0.1,0.2,0.3,0.4,-2,0.5", "action=-2: it must be an id"),
        ("proposals", "v,902,0.1,0.2,0.3,0.4,,", "score='': it must be a number"),
        ("proposals", "v,902,0.1,0.2,0.3,0.4,,95", "score=95: it must be between 0 and 1"),
        ("detections", "v,902,0.1,0.2,0.3,0.4,-1,0.5", "action=-1: it must be an id"),
        ("detections", "v,902,0.1,0.2,0.3,0.4,1,nan", "score='nan': it must be a number"),
    ],
)
def test_invalid_rows(tmp_path, kind, row, sentence):
    path = written(tmp_path, [ROWS[kind][0], "", row])
    message = fault(read_boxes, path, kind)
    assert message.startswith(f"{path}, line 3, ") and sentence in message


def test_an_open_quotation_mark(tmp_path):
    path = written(tmp_path, [ACTIONS[0], '"v,902,0.1,0.2,0.3,0.4,1,0', ACTIONS[1]])
    assert "line 2, is not valid csv (a quotation mark does not end" in fault(
        read_boxes, path, "actions"
    )
    long = written(tmp_path, [ACTIONS[0], '"' + "x" * 200_000])
    assert "line 2, is not valid csv" in fault(read_boxes, long, "actions")
    last = written(tmp_path, [ACTIONS[0], 'v,902,0.1,0.2,0.3,0.4,1,"0'])
    assert "line 2, is not valid csv" in fault(read_boxes, last, "actions")


@pytest.mark.parametrize(
    "kind, other, sentence",
    [
        ("actions", DETECTIONS, "has scores (1e-07, 0.25) where annotations have the person"),
        ("actions", PROPOSALS[1:3], "has scores (0.9) where annotations have the person"),
        ("proposals", DETECTIONS, "line 2, has the box of the row before with another score"),
        ("proposals", [ACTIONS[0][:-1] + "7"], "if this is a file of annotations"),
    ],
)
def test_csv_files_of_another_kind(tmp_path, kind, other, sentence):
    assert sentence in fault(read_boxes, written(tmp_path, other), kind)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is empty"),
        (b" \r\n\n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is not text in UTF-8"),
        ("v,902".encode("utf-16"), "is not text in UTF-8"),
        (b"\x80\x03}q.", "is not text in UTF-8"),
        (gzip.compress(ACTIONS[0].encode()), "is compressed: unpack it"),
        (json.dumps({"images": [], "annotations": []}).encode(), "is JSON"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (None, "does not exist (looked from"),
    ],
    ids=["empty", "blank", "png", "utf16", "pickle", "gz", "coco", "html", "absent"],
)
def test_other_files(tmp_path, content, sentence):
    path = tmp_path / "rows.csv"
    if content is not None:
        path.write_bytes(content)
    readers = [read_excluded, read_label_map, *(lambda p, k=k: read_boxes(p, k) for k in ROWS)]
    for read in readers:
        assert sentence in fault(read, path)
        assert "Is a directory" in fault(read, tmp_path)


@pytest.mark.parametrize(
    "header, column",
    [
        ("video,second,action,x1,y1,x2,y2,person", "action"),
        ("video,second,ymin,xmin,ymax,xmax,action,person", "ymin"),
        ("video,second,x,y,width,height,action,person", "width"),
        ("x1,y1,x2,y2,video,second,action,score", "x1"),
    ],
)
def test_a_header_of_columns_in_another_order(tmp_path, header, column):
    path = written(tmp_path, [header, *ACTIONS])
    assert f"line 1, {header!r}, has the column {column!r}" in fault(read_boxes, path, "actions")


@pytest.mark.parametrize("second", ["nan", "", "15:02", "9o2"])
def test_an_invalid_first_row_is_not_a_header(tmp_path, second):
    path = written(tmp_path, [f"v,{second}", "v,903"])
    assert f"line 1, 'v,{second}', has second={second!r}" in fault(read_excluded, path)


def test_a_header_alone(tmp_path):
    path = written(tmp_path, ["video,second,x1,y1,x2,y2,action,person"])
    assert "has no rows: each must be video,second,x1" in fault(read_boxes, path, "actions")


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("1: stand\nsit\n", "line 2, is 'sit': it must be AVA's .pbtxt"),
        ("0: stand\n", "line 1, is '0: stand'"),
        ("item {\n id: 1\n}\n", "the item 'id: 1', which lacks a name or an id from 1 on"),
        ('item { name: "sit" }', "which lacks a name or an id"),
        ('item { name: "sit id: 4" }', "which lacks a name or an id"),
        ("1: stand\n1: sit\n", "has the id 1 more than once"),
        ("1: sit\n2: sit\n", "has the name sit more than once"),
        ("item {\n", "has no action"),
        ("# nothing\n", "has no action"),
        ('item { name: "sit" id: 4 } item { name: "up" id: 5', "brackets or quotes that are not"),
        ('item { name: "sit" id: 1.5 }', "which lacks a name or an id from 1 on"),
    ],
)
def test_invalid_label_maps(tmp_path, text, sentence):
    path = tmp_path / "map.txt"
    path.write_text(text)
    assert sentence in fault(read_label_map, path)


@pytest.mark.parametrize(
    "row, sentence",
    [(ACTIONS[0], "has 8 column(s)"), ("v", "has 1 column(s)"), ("v,x", "second='x'")],
)
def test_invalid_excluded_seconds(tmp_path, row, sentence):
    message = fault(read_excluded, written(tmp_path, ["v,902", row]))
    assert "line 2," in message and sentence in message
