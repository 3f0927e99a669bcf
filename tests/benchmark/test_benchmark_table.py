"""The table of the benchmark: rows, columns, order, and errors."""

import json
from pathlib import Path

import pytest
from benchmark_models import CLIPS, DETECTOR, RECOGNIZER, SINGLE_SCALE

from mvit_det.benchmark.__main__ import argument_parser, main
from mvit_det.errors import UserError


def table(tmp_path, *arguments, **configs):
    paths = [tmp_path / f"{name}.py" for name in configs]
    for path, text in zip(paths, configs.values()):
        path.write_text(text)
    command = ["--table", *map(str, paths), "--device", "cpu", *arguments]
    return main(argument_parser().parse_args(command))


def cells_of(output):
    """Split a Markdown table into the head and the rows."""
    lines = [line.strip("|").split("|") for line in output.strip().splitlines()]
    assert len({len(line) for line in lines}) == 1
    head, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return head, rows


def test_rows_by_flops_with_published_and_counted_figures(tmp_path, capsys):
    train = """
train = dict(init_checkpoint="detectron2://ImageNetPretrained/some.pyth")
published = dict(table="5", box_ap=52.0, mask_ap=45.1, parameters=76, flops=701, weights="https://a.b/c.pkl")
"""
    path = tmp_path / "report.json"
    configs = dict(large=DETECTOR + train, clips=CLIPS, one_map=SINGLE_SCALE)
    report = table(tmp_path, "--size", "64", "64", "--json", str(path), **configs)
    assert json.loads(path.read_text()) == report
    rows = report["rows"]
    assert [Path(row["config"]).stem for row in rows] == ["clips", "one_map", "large"]
    # clips keep their number of frames
    assert [row["input"] for row in rows] == [[1, 3, 4, 64, 64], [1, 3, 64, 64], [1, 3, 64, 64]]
    output = capsys.readouterr()
    head, (clips, one_map, large) = cells_of(output.out)
    titles = ["input", "paper: table", "box AP", "mask AP", "parameters, M", "FLOPs, G"]
    assert head[1:7] == titles and len(head) == 10
    counted = f"{rows[2]['parameters'] / 1e6:.1f}", f"{rows[2]['flops'] / 1e9:.1f}"
    base = "https://dl.fbaipublicfiles.com/detectron2/"
    assert large == [
        "[large](large.py)", "64 x 64", "5", "52.0", "45.1", "76", "701", *counted,
        f"[some]({base}ImageNetPretrained/some.pyth), [detector](https://a.b/c.pkl)",
    ]  # fmt: skip
    assert clips[1:7] == ["4 x 64 x 64"] + ["-"] * 5 and clips[9] == "-"
    assert one_map[2:7] == ["9", "47.0", "-", "-", "276"]
    assert "Counting 3 of 3" in output.err and "1 multiply-add = 1 FLOP" in output.err


def test_nominal_sizes_and_test_views(tmp_path, capsys):
    of_images = """
published = dict(table="2", top1=82.3, parameters=24, flops=4.7, weights="mvitv2_t_in1k")
train = dict(init_checkpoint="output/before/model_final.pth")
"""
    of_clips = """
published = dict(table="10", top1=81.0, top5=94.6, parameters=34.5, flops=64)
dataloader = dict(test=dict(dataset=dict(clips=5), mapper=dict(transform=dict(crops=3))))
"""
    report = table(tmp_path, images=RECOGNIZER + of_images, clips=CLIPS + of_clips)
    assert [row["input"] for row in report["rows"]] == [[1, 3, 32, 64], [1, 3, 4, 32, 32]]
    assert [row["kind"] for row in report["rows"]] == ["recognizer"] * 2
    assert [row["views"] for row in report["rows"]] == [None, (3, 5)]
    head, (images, clips) = cells_of(capsys.readouterr().out)
    assert head[1:8] == [
        *("input", "paper: table", "top-1", "top-5", "parameters, M"),
        *("FLOPs, G x crops x clips", "counted: parameters, M"),
    ]
    flops = [f"{row['flops'] / 1e9:.3f}" for row in report["rows"]]
    url = "https://dl.fbaipublicfiles.com/mvit/mvitv2_models/MViTv2_T_in1k.pyth"
    weights = f"`output/before/model_final.pth`, [recognizer]({url})"
    assert images[1:7] == ["32 x 64", "2", "82.3", "-", "24", "4.7"]
    assert images[8:] == [flops[0], weights]
    assert clips[1:7] == ["4 x 32 x 32", "10", "81.0", "94.6", "34.5", "64 x 3 x 5"]
    assert clips[8:] == [f"{flops[1]} x 3 x 5", "-"]


def test_links_start_from_the_folder_of_all_configs(tmp_path, capsys):
    paths = [tmp_path / "a" / "one.py", tmp_path / "b" / "c" / "two.py"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(RECOGNIZER)
    main(argument_parser().parse_args(["--table", *map(str, paths)]))
    _, rows = cells_of(capsys.readouterr().out)
    assert [row[0] for row in rows] == ["[one](a/one.py)", "[two](b/c/two.py)"]


def test_errors_precede_counting(tmp_path, capsys):
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
