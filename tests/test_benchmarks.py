"""benchmarks/: the runner that compares with peers, its results, and the other scripts."""

import json
import subprocess
import sys
from pathlib import Path

import compare
import measuring
import pytest
import results
from PIL import Image
from rows import Experiment, Options, Row, all_rows

import mvit_det
from mvit_det.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
ROW = Row("classifier", "a network", "timm", "timm", build=None)


def result(**changes):
    """A result as `measure` returns it."""
    made = dict(row="classifier", what="a network", peer="timm", ratio=2.0, spread=[1.5, 2.5])
    made.update(precision="float32", threads=1, device="cpu", compiled=False, quick=False)
    made.update(seconds=dict(ours=1.0, peer=2.0), peak=dict(ours=100, peer=150), difference=1e-6)
    made.update(rounds=3, load=0.5, processor="chip", versions=dict(torch="2"), date="2026-01-31")
    return {**made, **changes}


def run(monkeypatch, *words):
    """Run the command in this process."""
    monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, words)])
    compare.main()


def script(name, *words):
    """Run a script in a process of its own."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_later_result_replaces_that_of_the_same_conditions():
    kept = [result(), result(precision="bfloat16"), result(row="video")]
    for name, value in dict(precision="bfloat16", threads=2, compiled=True, device="cuda").items():
        assert len(results.add(kept[:1], result(**{name: value}))) == 2
    new = result(ratio=3.0, date="2026-02-01")
    assert results.add(kept, new) == [new, *kept[1:]]


def test_the_table_replaces_what_stands_between_the_markers(tmp_path, monkeypatch, capsys):
    begin, end = results.MARKERS
    page, file = tmp_path / "page.md", tmp_path / "speed.json"
    page.write_text(f"# Title\n\n{begin}\nold\n{end}\nafter\n")
    file.write_text(json.dumps([result(compiled=True)]))
    run(monkeypatch, "--table", file, "--page", page)
    text = page.read_text()
    row = "| classifier | a network | timm | float32, compiled | 1 | 1 | 2 | 2.00 (1.50 to 2.50) |"
    assert row in " ".join(text.split()) and "chip, 2026-01-31: torch 2" in text
    assert text.startswith(f"# Title\n\n{begin}") and text.endswith(f"{end}\nafter\n")
    assert "old" not in text and results.table([result(compiled=True)]) in capsys.readouterr().out
    page.write_text("no markers")
    with pytest.raises(UserError, match="has no lines"):
        run(monkeypatch, "--table", file, "--page", page)


def test_the_page_of_the_documentation_has_the_markers(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text((ROOT / "docs/reference/speed.md").read_text())
    results.write_page(page, [result()])
    assert "2026-01-31" in page.read_text()


def test_what_cannot_be_run_is_left_out_and_said(monkeypatch, capsys):
    without = Row("one", "", "nobody", "no_such_package", build=None)
    needy = Row("two", "", "scorer", "numpy", build=None, precisions=False, needs="ava_official")
    packages = dict(precisions=False, packages=("json", "no_such_runtime"))
    exported = Row("five", "", "timm", "timm", build=None, **packages)
    named = Row("three", "", "timm", "timm", build=None, named=True)
    detectron2 = Row("four", "", "Detectron2", "detectron2", build=None)
    rows = {row.name: row for row in (without, needy, named, ROW, detectron2, exported)}
    args = compare.argument_parser("").parse_args(["--precision", "float32", "bfloat16"])
    done = [(row.name, options.precision) for row, options in compare.runs(args, rows)]
    networks = ["classifier", "four"] if mvit_det.host() == "real" else ["classifier"]
    assert done == [(name, dtype) for name in networks for dtype in ("float32", "bfloat16")]
    said = capsys.readouterr().out
    assert "one is left out: no_such_package, its peer, is not installed.\n" in said
    assert "two is left out: it needs --ava-official.\n" in said and "three" not in said
    assert "five is left out: it needs no_such_runtime.\n" in said
    assert ("four is left out" in said) == (mvit_det.host() != "real")


@pytest.mark.parametrize(
    "words, message",
    [
        (["no-such-row"], "there is no row no-such-row: choose from backbone-1024, "),
        (["video", "motion"], "motion is an experiment"),
        (["--threads", "0"], "must be 1 or more"),
        (["--table", "missing.json"], "there is no file missing.json"),
        (["--ava-official", "missing"], "no get_ava_performance.py"),
    ],
)
def test_faults_are_said_in_a_sentence(monkeypatch, words, message):
    with pytest.raises(UserError, match=message):
        run(monkeypatch, *words)


def test_other_precisions_are_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--precision", "float16")
    assert "invalid choice: 'float16'" in capsys.readouterr().err


def test_every_row_has_another_name_and_describes_itself(monkeypatch, capsys):
    run(monkeypatch, "--list")
    printed = capsys.readouterr().out
    rows = all_rows()
    assert all(name == row.name and row.what in printed for name, row in rows.items())
    assert {"motion", "pretraining"} <= {n for n, r in rows.items() if isinstance(r, Experiment)}


def test_outcomes_of_another_number_do_not_match(tmp_path):
    import numpy as np
    import torch

    assert measuring.largest_difference(tmp_path) is None
    np.save(tmp_path / "ours.npy", measuring.flatten({"a": torch.ones(2), "b": [4.5, np.nan]}))
    np.save(tmp_path / "peer.npy", measuring.flatten([torch.ones(2), 4, float("nan")]))
    assert measuring.largest_difference(tmp_path) == pytest.approx(0.5 / 4)
    np.save(tmp_path / "peer.npy", np.ones(5))
    assert measuring.largest_difference(tmp_path) == float("inf")


@pytest.mark.slow
def test_both_sides_run_in_processes_and_agree(tmp_path):
    output = tmp_path / "speed.json"
    words = ["coco-masks", "classifier", "--quick", "--rounds", "2", "--threads", "1"]
    for _ in range(2):  # the second run replaces the results of the first
        done = script("compare.py", *words, "--output", output)
        assert done.returncode == 0, done.stderr
    scores, network = json.loads(output.read_text())
    assert "| coco-masks" in done.stdout and "| classifier" in done.stdout
    assert scores["difference"] < 1e-9 and 0 < network["difference"] < 1e-4
    for each in (scores, network):
        assert each["rounds"] == 2 and each["quick"] and min(each["peak"].values()) > 2**25
        assert each["spread"][0] <= each["ratio"] * 2 and each["versions"]["torch"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_an_exported_model_runs_next_to_its_peer(form, tmp_path):
    for package in ("onnxscript", "onnxruntime" if form == "onnx" else form):
        pytest.importorskip(package)
    output = tmp_path / "speed.json"
    words = [f"exported-classifier-{form}-fp32", "--quick", "--rounds", "1", "--threads", "1"]
    done = script("compare.py", *words, "--output", output)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(output.read_text())
    assert result["precision"] == "-" and result["peer"] == "timm, float32"
    assert 0 < result["difference"] < 1e-5


def test_the_limit_counts_products_by_operations_and_the_rest_by_bytes():
    import torch
    import torch.nn.functional as F
    from rows.limit import count

    a, b, pixels = torch.ones(2, 3), torch.ones(4, 3), torch.ones(1, 8, 5, 5)
    assert count(lambda: (a @ b.t()).relu_()) == (2 * 2 * 3 * 4, 4 * (8 + 8))
    dense = torch.ones(8, 8, 1, 1)
    assert count(lambda: F.conv2d(pixels, dense)) == (2 * 25 * 8 * 8, 0)
    depthwise = torch.ones(8, 1, 3, 3)
    flops, moved = count(lambda: F.conv2d(pixels, depthwise, padding=1, groups=8))
    assert (flops, moved) == (0, 4 * (200 + 72 + 200))


@pytest.mark.slow
def test_a_crash_names_row_and_side_and_shows_what_was_said(monkeypatch):
    row = Row("soft-nms", "", "a peer", "numpy", build=None)
    with pytest.raises(SystemExit) as stopped:
        measuring.measure(row, Options(device="no-such-device"), 1)
    message = str(stopped.value)
    assert message.startswith("error: soft-nms, ours: the measured process ended with status 1:")
    assert "no-such-device" in message


def test_the_script_for_a_gpu_says_that_there_is_none(monkeypatch):
    import gpu
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(UserError, match="needs a CUDA GPU and torch sees none"):
        gpu.main()


@pytest.mark.slow
def test_the_script_for_a_gpu_tries_its_code_on_the_cpu(tmp_path):
    output = tmp_path / "gpu.json"
    done = script("gpu.py", "--device", "cpu", "--quick", "--output", output)
    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr
    content = json.loads(output.read_text())
    jobs = {each["job"] for each in content["results"]}
    assert len(jobs) == 5 and all(f"| {job} " in done.stdout for job in jobs)
    assert {each["way"] for each in content["results"]} == {"eager", "compiled"}
    assert all(each["flops"] > 0 and each["ours"]["seconds"] > 0 for each in content["results"])
    kernels = {(kernel, values): times for _, kernel, values, *times in content["attention"]}
    assert all(time > 0 for time in kernels["flash", "widened"])
    assert kernels["cuDNN", "as they are"] == ["refused", "refused"]  # it needs a GPU


def test_an_ablation_whose_windows_are_the_whole_grid_is_refused(monkeypatch, tmp_path):
    import ablations

    monkeypatch.setattr(ablations, "measure", lambda *_: pytest.fail("it trained"))
    with pytest.raises(UserError, match="grid of 16x16 tokens is no larger than the window") as e:
        ablations.main(["--size", "64", "--output", str(tmp_path / "output")])
    assert "\n" not in str(e.value) and not (tmp_path / "output").exists()


def test_kinds_of_an_ablation_differ_by_what_their_names_say():
    import ablations

    settings = dict(size=128, iterations=100, overrides=[])
    built = {kind: ablations.build_backbone(kind, settings) for kind in ablations.CHANGES}

    def blocks(kind, name):
        return [getattr(spec, name) for spec in built[kind].plan]

    def tables(kind):
        names = (name.split(".")[-1] for name in built[kind].state_dict())
        return {name for name in names if "pos" in name}

    whole = dict(full=0, windows=6, swin=6, hwin=3)
    assert {k: 6 - blocks(k, "window").count(None) for k in whole} == whole
    assert {k: sum(blocks(k, "shifted")) for k in whole} == dict(full=0, windows=0, swin=3, hwin=0)
    assert all(set(blocks(k, "stride_kv")) == {(1, 1)} for k in whole)
    for pooled, of in (("pooling", "full"), ("pooling-hwin", "hwin")):
        assert blocks(pooled, "window") == blocks(of, "window")
        assert [s[0] for s in blocks(pooled, "stride_kv")] == [4, 2, 1, 1, 1, 1]
    decomposed = {"rel_pos_h", "rel_pos_w"}
    assert tables("pooling-hwin") == decomposed and tables("no-position") == set()
    assert tables("absolute") == {"pos_embed"} and tables("joint") == {"rel_pos_hw"}
    assert tables("decomposed-absolute") == {*decomposed, "pos_embed"}


@pytest.mark.slow
def test_an_ablation_ends_with_a_table_and_a_picture(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    output = tmp_path / "output"
    words = ["--quick", "--kinds", "swin", "joint", "--iterations", "8"]
    words += ["--output", output]
    for split in ("train", "test"):
        data = f"dataloader.{split}"
        words += [
            f"{data}.dataset.num_train=8",
            f"{data}.dataset.num_val=2",
            f"{data}.num_workers=0",
        ]
    for start in range(2):  # the second one continues, and has nothing to train
        done = script("ablations.py", *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("train_net.py") == (2 if start == 0 else 0)
        assert "ranks nothing" in done.stdout
        lines = [line for line in done.stdout.splitlines() if line.startswith("| Table")]
        assert [line.split("|")[2].strip() for line in lines] == ["swin", "joint"]
    runs = json.loads((output / "ablations.json").read_text())["runs"]
    assert all(run["1"]["seconds"] > 0 and run["1"]["last_loss"] > 0 for run in runs.values())
    with Image.open(output / "ablations.png") as picture:
        assert picture.format == "PNG" and picture.width > 800
    other = script("ablations.py", *words, "optimizer.lr=1e-4")
    assert other.returncode == 1 and "results of another overrides than this start" in other.stderr
