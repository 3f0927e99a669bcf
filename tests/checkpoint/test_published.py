"""The table of published weights, and the ways to name them."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from mvit_det.checkpoint import published
from mvit_det.checkpoint.published import PUBLISHED, fetch, find
from mvit_det.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FORMATS = {"mvit", "pyslowfast", "detectron2", "timm", "torchvision", "mmaction2"}


@pytest.fixture
def downloads(monkeypatch):
    """Record (url, checksum) instead of downloading."""
    calls = []
    monkeypatch.setattr(published, "download", lambda *a: calls.append(a) or "/cache/file")
    return calls


def test_rows_are_complete_and_differ():
    for name, row in PUBLISHED.items():
        assert row.name == name and row.what and row.licence
        assert row.format in FORMATS
        assert re.fullmatch(r"https://[\w./-]+/[\w.-]+\.(pyth|pth|pkl|safetensors)", row.url)
        assert re.fullmatch(r"https://[\w./-]+", row.source)
    assert len({row.url for row in PUBLISHED.values()}) == len(PUBLISHED)
    assert len({name.lower() for name in PUBLISHED}) == len(PUBLISHED)
    assert {row.format for row in PUBLISHED.values()} == FORMATS


def test_checksums_are_those_that_publishers_state():
    for row in PUBLISHED.values():
        stated = row.format in ("torchvision", "mmaction2")  # and MMSelfSup, in its format
        assert bool(row.checksum) == stated
        if stated:
            algorithm, digits = row.checksum.split(":")
            assert algorithm == "sha256" and re.fullmatch("[0-9a-f]{8}", digits)
            assert f"-{digits}." in row.file


def test_every_released_detector_has_the_name_of_its_config():
    names = {name for name, row in PUBLISHED.items() if row.format == "detectron2"}
    assert len(names) == 7
    for name in names:
        assert (ROOT / "configs" / f"{name}.py").exists()


@pytest.mark.parametrize(
    "spelling, name",
    [
        ("mvitv2_b_in21k", "mvitv2_b_in21k"),
        ("MViTv2_B_in21k", "mvitv2_b_in21k"),
        ("MViTv2_B_in21k.pyth", "mvitv2_b_in21k"),
        (
            "https://dl.fbaipublicfiles.com/mvit/mvitv2_models/MViTv2_B_in21k.pyth",
            "mvitv2_b_in21k",
        ),
        (
            "detectron2://ImageNetPretrained/mvitv2/MViTv2_B_in21k.pyth",
            "detectron2/mvitv2_b_in21k",
        ),
        ("model_final_be5168.pkl", "cascade_mask_rcnn_mvitv2_b_in21k_3x"),
        (
            "detectron2://MViTv2/cascade_mask_rcnn_mvitv2_b_in12k_3x/f309003202/"
            "model_final_be5168.pkl",
            "cascade_mask_rcnn_mvitv2_b_in21k_3x",
        ),
        ("mvit_v2_s-ae3be167.pth", "torchvision/mvit_v2_s"),
        ("timm/mvitv2_tiny.fb_in1k", "timm/mvitv2_tiny.fb_in1k"),
        (
            "mvit-small-p244_16x4x1_kinetics400-rgb_20221021-9ebaaeed.pth",
            "mmaction2/mvit-small-p244_16x4x1_kinetics400-rgb",
        ),
    ],
)
def test_spellings(spelling, name, downloads):
    assert find(spelling) is PUBLISHED[name]
    assert fetch(spelling) == "/cache/file"
    assert downloads == [(PUBLISHED[name].url, PUBLISHED[name].checksum)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_name_and_its_url_mean_the_same_row(name):
    row = PUBLISHED[name]
    assert find(name) is row and find(row.url) is row
    assert row.file == published.HUB_FILE or find(row.file).file == row.file


def test_the_file_name_of_the_hub_identifies_no_model():
    assert find("model.safetensors") is None


def test_other_urls_are_downloaded(downloads):
    fetch("https://a.org/mine.pth")
    fetch("detectron2://ImageNetPretrained/MSRA/R-50.pkl")
    zoo = "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl"
    assert downloads == [("https://a.org/mine.pth",), (zoo,)]


def test_a_path_that_exists_is_returned_unchanged(tmp_path, monkeypatch, downloads):
    monkeypatch.chdir(tmp_path)
    Path("mvitv2_b_in21k").touch()  # a file comes before the name
    assert fetch("mvitv2_b_in21k") == "mvitv2_b_in21k"
    Path("some").mkdir()
    assert fetch("some") == "some" and fetch(tmp_path / "some") == str(tmp_path / "some")
    assert downloads == []


def test_a_folder_of_that_name_does_not_hide_the_weights(tmp_path, monkeypatch, downloads):
    # runs are often written to a folder with the name of their config
    monkeypatch.chdir(tmp_path)
    Path("mask_rcnn_mvitv2_t_3x").mkdir()
    fetch("mask_rcnn_mvitv2_t_3x")
    assert len(downloads) == 1


@pytest.mark.parametrize(
    "source, parts",
    [
        ("mvit_b_in21k", ["nor a published name", "did you mean mvitv2_b_in21k"]),
        ("something else", ["nor a published name", "give a path"]),
        ("runs/model_0000999.pth", ["do not exist (current folder: ", "correct the path"]),
        ("model_best.pth", ["do not exist", "correct the path"]),
        ("timm/mvitv2_tiny", ["do not exist", "such as timm/mvitv2_tiny.fb_in1k"]),
        ("output/mine/model_final.pth", ["do not exist", "or train mine first"]),
        ("s3://bucket/x.pth", ["cannot be downloaded", "https://"]),
    ],
)
def test_unknown_sources_end_in_one_sentence(source, parts, downloads):
    with pytest.raises(UserError) as caught:
        fetch(source)
    assert all(part in str(caught.value) for part in [source, *parts])
    assert "\n" not in str(caught.value) and downloads == []


def test_the_command_prints_the_table(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["published"])
    monkeypatch.delitem(sys.modules, published.__name__)
    runpy.run_module(published.__name__, run_name="__main__")
    table = capsys.readouterr().out
    header, rule, *rows = table.splitlines()
    assert header == "| name | what | format | licence | source |" and set(rule) == set("| -")
    assert len(rows) == len(PUBLISHED)
    assert table.strip() in (ROOT / "configs" / "README.md").read_text(), "print it again"
    for row, name in zip(rows, PUBLISHED):
        assert row.startswith(f"| [{name}](https://") and row.count("|") == 6
