"""``python -m mvit_det.evaluation --actions``: metrics of files, and error messages."""

import json

import pytest
from action_scenes import scene, table

from mvit_det.errors import UserError
from mvit_det.evaluation.__main__ import argument_parser, main
from mvit_det.evaluation.actions.metrics import MODES, frame_ap, prepare


def run(arguments):
    return main(argument_parser().parse_args(arguments))


@pytest.fixture
def actions(tmp_path):
    """Random rows, their files by option (two files of ground truth), and the arguments."""
    rows = scene(64)
    half = len(rows.truth) // 2
    names = "".join(f"{k}: act {k}\n" for k in rows.class_ids)
    contents = {
        "--actions": csv(rows.truth[:half]),
        "more": csv([*rows.truth[half:], *rows.empty]),
        "--results": csv(rows.found),
        "--label-map": names,
        "--excluded": csv(sorted(rows.excluded)),
    }
    files = {name: tmp_path / f"{name.strip('-')}.csv" for name in contents}
    for name, content in contents.items():
        files[name].write_text(content)
    paths = [[name, str(path)] for name, path in files.items()]
    paths[1] = paths[1][1:]
    return rows, files, sum(paths, [])


def csv(rows):
    """Return the content of a file."""
    return "".join(",".join(str(each) for each in row if each is not None) + "\n" for row in rows)


@pytest.mark.parametrize("mode", MODES)
def test_actions_from_files(actions, tmp_path, mode):
    rows, _, arguments = actions
    tables = table(rows.truth, rows.empty), table(rows.found)
    prepared = prepare(*tables, excluded=rows.excluded, mode=mode)
    scores = frame_ap(prepared.truth, prepared.found, rows.class_ids, mode=mode)
    metrics = run([*arguments, "--mode", mode, "--output", str(tmp_path / "out")])["actions"]
    assert list(metrics) == ["mAP50", *(f"AP-act {k}" for k in rows.class_ids)]
    expected = [100 * scores.mean, *(100 * scores.ap)]
    assert repr(list(metrics.values())) == repr([float(value) for value in expected])
    assert 0 < metrics["mAP50"] < 100
    written = json.loads((tmp_path / "out" / "action_metrics.json").read_text())
    assert written == {f"actions/{name}": value for name, value in metrics.items()}
    for name in ("action_ap.png", "precision_recall.png"):
        assert (tmp_path / "out" / "pictures" / name).stat().st_size > 10_000


@pytest.mark.parametrize("mode", MODES)
def test_actions_without_names_and_within_some_seconds(actions, mode):
    rows, files, arguments = actions
    arguments = ["--mode", mode, *arguments]
    truth = [row for row in (*rows.truth, *rows.empty) if row[1] <= 903]
    assert {row[1] for row in truth} == {902, 903} and len(truth) < len(rows.truth)
    expected = run([*arguments, "--seconds", "902", "903"])
    files["--actions"].write_text(csv(truth))
    files["more"].write_text("other,0902\n")
    found = [row for row in rows.found if row[1] <= 903]
    assert len(found) < len(rows.found)
    files["--results"].write_text(csv(found))
    assert repr(run(arguments)) == repr(expected)
    without = arguments[: arguments.index("--label-map")]
    ids = {row[6] for row in (*truth, *found) if len(row) > 2}
    assert list(run(without)["actions"]) == ["mAP50", *(f"AP-action {k}" for k in sorted(ids))]


ACTION_FAULTS = {
    "absent": ("--results", None, "results.csv does not exist"),
    "empty": ("--results", "", "results.csv is empty"),
    "broken": ("--results", "v0,902,0,0,1,1,1,high\n", "results.csv, line 1, .*score='high'"),
    "persons": (
        "--results",
        "v0,902,0,0,1,1,1,0\nv0,902,0,0,1,1,1,3\n",
        "like person ids of ground truth",
    ),
    "scores": ("--actions", "v0,902,0,0,1,1,1,0.25\n", "actions.csv has scores"),
    "other videos": (
        "--results",
        "w,902,0,0,1,1,1,.5\n",
        r"None of the videos .* \(w\) is in .*more.csv",
    ),
    "other actions": ("--label-map", "77: fly\n", "none of .* the 1 evaluated actions \\(77\\)"),
    "other file": ("--label-map", "v0,902\n", "label map .*line 1"),
    "no pair": ("--excluded", "v0,902,3\n", "excluded.csv, line 1"),
}


@pytest.mark.parametrize("fault", ACTION_FAULTS)
def test_errors_in_files_of_actions(actions, fault):
    _, files, arguments = actions
    option, content, message = ACTION_FAULTS[fault]
    files[option].unlink()
    if content is not None:
        files[option].write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        run(arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["--actions", "--results"])
def test_a_file_of_actions_given_twice(actions, option):
    _, files, arguments = actions
    given = ["--actions", str(files["more"]), str(files["more"])]
    if option == "--results":
        given = [*given[:2], "--results", given[1]]
    with pytest.raises(UserError, match="more.csv is given twice: give it once"):
        run([*arguments, *given])


def test_no_ground_truth_of_actions(actions):
    _, files, arguments = actions
    files["--actions"].write_text("v0,902\n")
    files["more"].write_text("v1,903\n")
    with pytest.raises(UserError, match="more.csv: there are no boxes, so there is nothing"):
        run(arguments)


def test_no_key_frame_is_left(actions):
    rows, files, arguments = actions
    files["--excluded"].write_text(csv({row[:2] for row in rows.truth}))
    with pytest.raises(UserError, match="more.csv: all key frames .* are excluded"):
        run(arguments)


def count_without_area(rows):
    return sum(row[4] <= row[2] or row[5] <= row[3] for row in rows)


def test_detections_that_do_not_count_are_logged(actions, caplog):
    rows, files, arguments = actions
    expected = run(arguments)
    caplog.clear()
    more = [("w", 902, 0, 0, 1, 1, rows.class_ids[0], 0.5), ("v0", 902, 0, 0, 1, 1, 79, 0.9)]
    files["--results"].write_text(csv([*rows.found, *more]))
    with caplog.at_level("INFO"):
        assert repr(run(arguments)) == repr(expected)
    assert "videos are not in the ground truth: w." in caplog.text
    not_evaluated = 1 + sum(row[6] not in rows.class_ids for row in rows.found)
    total = len(rows.found) + 2
    reason = "of actions that are not evaluated"
    assert f"{not_evaluated} of {total} detections are left out: {reason}." in caplog.text
    assert (
        f"{count_without_area(rows.found)} of {total} detections are left out: boxes with"
        in caplog.text
    )
    assert count_without_area(rows.found) > 0 and "ground truth have no area" not in caplog.text


def test_boxes_without_area_are_logged(actions, caplog):
    rows, files, arguments = actions
    files["more"].write_text(f"v0,902,0.5,0.2,0.5,0.8,{rows.class_ids[0]},0\n")
    run(arguments)
    assert "1 of " in caplog.text and "boxes of the ground truth have no area" in caplog.text
