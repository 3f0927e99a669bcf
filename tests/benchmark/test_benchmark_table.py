"""The table of the benchmark: rows, columns, order, and what it refuses."""

import json
from pathlib import Path

import pytest
from benchmark_models import CASCADE, CLIPS, DETECTOR, RECOGNIZER, SINGLE_SCALE, run

from mvit_det.benchmark.__main__ import argument_parser, main
from mvit_det.errors import UserError


def table(tmp_path, *arguments, size=("--size", "64", "64"), **configs):
    paths = [tmp_path / f"{name}.py" for name in configs]
    for path, text in zip(paths, configs.values()):
        path.write_text(text)
    command = ["--table", *map(str, paths), "--device", "cpu", *size, *arguments]
    return main(argument_parser().parse_args(command))


def cells_of(output):
    """The rows of a Markdown table, without the line under its head."""
    lines = [line.strip("|").split("|") for line in output.strip().splitlines()]
    assert len({len(line) for line in lines}) == 1
    head, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return head, rows


def test_table_has_a_row_per_config_by_size_with_what_the_paper_says(tmp_path, capsys):
    train = """
train = dict(init_checkpoint="detectron2://ImageNetPretrained/some.pyth")
published = dict(table="5", box_ap=52.0, mask_ap=45.1, parameters=76, flops=701, weights="https://a.b/c.pkl")
"""
    path = tmp_path / "report.json"
    report = table(
        tmp_path, "--json", str(path), large=CASCADE + train, own=DETECTOR, one_map=SINGLE_SCALE
    )  # fmt: skip
    assert json.loads(path.read_text()) == report
    assert all(row["input"] == [1, 3, 64, 64] for row in report["rows"])
    assert [Path(row["config"]).stem for row in report["rows"]] == ["one_map", "own", "large"]
    output = capsys.readouterr()
    head, (one_map, own, large) = cells_of(output.out)
    assert head[1:5] == ["paper: table", "box AP", "mask AP", "parameters, M"] and len(head) == 9
    single = run(tmp_path, CASCADE, "--size", "64", "64", "--repeats", "0")
    figures = f"{single['parameters'] / 1e6:.1f}", f"{single['flops'] / 1e9:.1f}"
    base = "https://dl.fbaipublicfiles.com/detectron2/"
    assert large == [
        "[large](large.py)", "5", "52.0", "45.1", "76", "701", *figures,
        f"[some]({base}ImageNetPretrained/some.pyth), [detector](https://a.b/c.pkl)",
    ]  # fmt: skip
    assert own[1:6] == ["-"] * 5 and own[8] == "-"
    assert one_map[1:6] == ["9", "47.0", "-", "-", "276"]
    assert "Counting 3 of 3" in output.err and "1 multiply-add = 1 FLOP" in output.err


def test_table_counts_each_model_at_the_size_it_is_made_for(tmp_path, capsys):
    said = """
published = dict(table="2", top1=82.3, parameters=24, flops=4.7, weights="mvitv2_t_in1k")
train = dict(init_checkpoint="output/before/model_final.pth")
"""
    report = table(tmp_path, size=(), images=RECOGNIZER + said, clips=CLIPS)
    assert [row["input"] for row in report["rows"]] == [[1, 3, 32, 64], [1, 3, 4, 32, 32]]
    assert [row["kind"] for row in report["rows"]] == ["recognizer"] * 2
    head, (images, clips) = cells_of(capsys.readouterr().out)
    assert head[1:6] == ["input", "paper: table", "top-1", "parameters, M", "FLOPs, G"]
    flops = report["rows"][0]["flops"]
    url = "https://dl.fbaipublicfiles.com/mvit/mvitv2_models/MViTv2_T_in1k.pyth"
    weights = f"`output/before/model_final.pth`, [recognizer]({url})"
    assert images[1:6] == ["32 x 64", "2", "82.3", "24", "4.7"]
    assert images[7:] == [f"{flops / 1e9:.3f}", weights]
    assert clips[1:6] == ["4 x 32 x 32"] + ["-"] * 4 and clips[8] == "-"
    # at another size all are counted at that one, and clips keep their frames
    report = table(tmp_path, images=RECOGNIZER, clips=CLIPS, mask=DETECTOR)
    shapes = [tuple(row["input"]) for row in report["rows"]]
    assert set(shapes) == {(1, 3, 64, 64), (1, 3, 4, 64, 64)}


def test_table_shows_the_views_of_a_test(tmp_path, capsys):
    said = """
published = dict(table="10", top1=81.0, top5=94.6, parameters=34.5, flops=64)
dataloader = dict(test=dict(dataset=dict(clips=5), mapper=dict(transform=dict(crops=3))))
"""
    report = table(tmp_path, size=(), views=CLIPS + said, none=CLIPS)
    assert [row["views"] for row in report["rows"]] == [(3, 5), None]
    head, rows = cells_of(capsys.readouterr().out)
    flops = report["rows"][0]["flops"] / 1e9
    assert head[1:7] == [
        *("paper: table", "top-1", "top-5", "parameters, M"),
        *("FLOPs, G x crops x clips", "counted: parameters, M"),
    ]
    assert rows[0][2:6] == ["81.0", "94.6", "34.5", "64 x 3 x 5"]
    assert rows[0][7] == f"{flops:.3f} x 3 x 5" and rows[1][7] == f"{flops:.3f}"


def test_table_refuses_before_it_counts(tmp_path, capsys):
    with pytest.raises(UserError, match="no `model`"):
        table(tmp_path, good=DETECTOR, bad="train = dict(a=1)")
    with pytest.raises(UserError, match="drop --backbone-only"):
        table(tmp_path, "--backbone-only", good=DETECTOR)
    with pytest.raises(UserError, match="missing.py does not exist"):
        main(argument_parser().parse_args(["--table", "missing.py", "--device", "cpu"]))
    assert "Counting" not in capsys.readouterr().err
    with pytest.raises(SystemExit):
        argument_parser().parse_args(["--table", "a.py", "--config-file", "b.py"])
    with pytest.raises(SystemExit):
        argument_parser().parse_args([])
