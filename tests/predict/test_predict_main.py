"""The command line: in this process, and as a process that is interrupted."""

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from predict_scenes import write_video
from pycocotools.coco import COCO

from mvit_det import progress
from mvit_det.errors import UserError
from mvit_det.predict import __main__ as command
from mvit_det.predict.arguments import argument_parser, split_overrides
from mvit_det.predict.writers import Results

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.fixture
def predict(run, tmp_path, caplog):
    """Run main with the tiny detector; gives the exit status, the output folder and the log."""
    caplog.set_level("INFO", logger="mvit_det")

    def start(*words: str, threshold: str = "0.05") -> tuple[int, Path, str]:
        output = tmp_path / "out"
        line = ["--config-file", str(run.config), *map(str, words), "--output", str(output)]
        line += ["--score-threshold", threshold]
        status = command.main(argument_parser().parse_intermixed_args(line))
        return status, output, caplog.text

    return start


def read(output: Path) -> tuple[list, list]:
    images = json.loads((output / "images.json").read_text())["images"]
    return json.loads((output / "predictions.json").read_text()), images


def test_a_folder_with_a_broken_file(predict, inputs):
    status, output, log = predict(inputs, "--batch-size", 3)
    assert status == 1
    names = {path.name for path in output.iterdir()}
    pictures = {"a.jpg", "b.png", "a-2.jpg", "clip.mp4"}
    assert names == pictures | {"predictions.json", "images.json"}
    predictions, images = read(output)
    annotated = [image["annotated"] for image in images]
    assert annotated == ["a.jpg", "b.png", *["clip.mp4"] * 5, "a-2.jpg"]
    assert f"{inputs / 'broken.jpg'}: " in log
    assert f"{inputs}: skipped 1 files of other kinds (1 .txt)." in log
    assert " of 9 images" not in log  # it is quicker than the interval of progress
    assert (
        f"Wrote 3 annotated pictures, 1 annotated videos (5 frames), predictions.json and "
        f"images.json to {output}: {len(predictions)} objects of score >= 0.05. Faulty inputs: 1"
    ) in log
    results = COCO(str(output / "images.json")).loadRes(str(output / "predictions.json"))
    assert len(results.anns) == len(predictions) > 0
    assert {result["score"] >= 0.05 for result in predictions} == {True}

    # without batches, and with an override: the best detection of each image
    _, output, _ = predict(inputs, "model.roi_heads.box_predictor.test_topk_per_image=1")
    best, again = read(output)
    assert again == images
    expected = {}
    for result in predictions:
        expected.setdefault(result["image_id"], result["score"])
    assert {result["image_id"]: result["score"] for result in best} == pytest.approx(
        expected, abs=1e-5
    )


def test_class_names_and_threshold(predict, inputs):
    status, output, log = predict(inputs / "a.jpg", "--class-names", "v,w, x,y,z", threshold="1")
    assert status == 0 and "Faulty" not in log
    assert "1 annotated pictures, predictions.json and images.json" in log
    assert read(output)[0] == []
    categories = json.loads((output / "images.json").read_text())["categories"]
    assert [category["name"] for category in categories] == ["v", "w", "x", "y", "z"]


def test_a_picture_that_the_model_cannot_process_is_skipped(predict, inputs):
    Image.new("RGB", (300, 2)).save(inputs / "a-line.png")
    status, output, log = predict(inputs, "--batch-size", 4)
    assert status == 1 and "Faulty inputs: 2" in log
    assert "a-line.png: A picture of 2 x 300" in log
    assert len(read(output)[1]) == 8


def test_only_faulty_inputs(predict, inputs):
    status, output, log = predict(inputs / "broken.jpg")
    assert status == 1 and read(output) == ([], [])
    assert "Wrote predictions.json and images.json" in log


def test_progress_in_the_log(predict, inputs, monkeypatch):
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0)
    _, _, log = predict(inputs)
    # 9 inputs, one of them broken
    states = re.findall(r"(\d) of 9 images \[\d\d:\d\d<\d\d:\d\d, +\d+\.\d\d images/s\]", log)
    assert states == list("12345678")


def test_progress_without_a_total(caplog, monkeypatch):
    caplog.set_level("INFO", logger="mvit_det")
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0)
    assert list(progress.progress(iter("ab"), None, "frames")) == ["a", "b"]
    states = re.findall(r"(\d frames) \[00:00, +\S+ frames/s\]", caplog.text)
    assert states == ["1 frames", "2 frames"]


def test_progress_on_a_terminal(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    logger = logging.getLogger("mvit_det")
    monkeypatch.setattr(logger, "handlers", [])  # a training in this process leaves others
    handler = logging.StreamHandler(terminal)
    logger.addHandler(handler)
    try:
        for item in progress.progress(range(4), 4, "frames"):
            logger.warning("item %d", item)
            if item == 2:
                break
        assert logger.handlers == [handler]  # restored
    finally:
        logger.removeHandler(handler)
    output = terminal.getvalue()
    assert "| 0 of 4 frames [00:00<?" in output
    # each on a separate line, which the bar has left
    assert re.findall(r"\r(item \d)\n", output) == ["item 0", "item 1", "item 2"]
    assert output.endswith("\r")


def test_inputs_and_overrides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a=b.jpg").write_text("")
    words = ["x.jpg", "a=b.jpg", "model.test_flip=true", "dir/c=d.jpg", "+train.extra=[1,2]"]
    inputs, overrides = split_overrides(words)
    assert inputs == ["x.jpg", "a=b.jpg", "dir/c=d.jpg"]
    assert overrides == ["model.test_flip=true", "+train.extra=[1,2]"]
    with pytest.raises(UserError, match="No input was given"):
        split_overrides(["train.seed=1"])


def test_user_errors_exit_with_one_sentence(run, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "setup_logger", lambda name: None)
    monkeypatch.setattr(logging.getLogger("fvcore"), "setLevel", lambda level: None)
    line = ["--config-file", str(run.config), str(inputs), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"^error: Weights no.pth do not exist"):
        command.run_command([*line, "--weights", "no.pth"], "predict")


def test_a_signal_ends_the_run_after_the_current_batch(predict, inputs, monkeypatch):
    def add_and_interrupt(self, *frame_and_result):
        add(self, *frame_and_result)
        signal.raise_signal(signal.SIGINT)

    add = Results.add
    monkeypatch.setattr(Results, "add", add_and_interrupt)
    status, output, log = predict(inputs)
    assert status == 128 + signal.SIGINT and len(read(output)[1]) == 1
    assert "Interrupted: the remaining inputs were not processed." in log.splitlines()[-1]


@pytest.mark.slow
def test_an_interrupted_process_keeps_its_results(run, inputs, tmp_path):
    write_video(inputs / "clip.avi", count=500, fps=10.0, size=(96, 128))
    output = tmp_path / "out"
    line = [sys.executable, "-m", "mvit_det.predict", "--config-file", run.config, inputs]
    line += ["--output", output, "--score-threshold", 0]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), os.getenv("PYTHONPATH", "")]))
    with subprocess.Popen(
        list(map(str, line)), env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (output / "clip.mp4").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        log = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "Interrupted: the remaining inputs were not processed." in log.splitlines()[-1]
    predictions, images = read(output)
    assert 3 <= len(images) < 503
    # every recorded image has its detections
    assert {result["image_id"] for result in predictions} == {image["id"] for image in images}
    assert not list(output.glob("*.partial"))


def test_file_names_that_are_not_utf8(predict, inputs):
    for name in ("clip.avi", "a.jpg", "broken.jpg"):
        (inputs / name).rename(inputs / f"caf\udce9{name}")
    status, output, log = predict(*inputs.glob("caf*"))
    assert status == 1 and "caf\\xe9broken.jpg: " in log.encode().decode()
    assert {path.name for path in output.glob("caf*")} == {"caf\udce9clip.mp4", "caf\udce9a.jpg"}
    names = {Path(image["file_name"]).name for image in read(output)[1]}
    assert names == {"caf\udce9clip.avi", "caf\udce9a.jpg"}
