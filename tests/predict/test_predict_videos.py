"""A video classifier in `Predictor` and on the command line."""

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from PIL import Image
from predict_scenes import finished_run, moving, write_clip, write_video
from video_files import cut_short, numbered_frames
from video_files import write_video as write_numbered

from mvit_det.data import video_classes
from mvit_det.data.decoding.reader import VideoError, open_video
from mvit_det.engine import apply_overrides, load_config
from mvit_det.errors import UserError
from mvit_det.predict import Predictor
from mvit_det.predict import __main__ as command
from mvit_det.predict import run as run_module
from mvit_det.predict.__main__ import argument_parser, main
from mvit_det.predict.open_frames import read_frames
from mvit_det.predict.writers import Results

pytestmark = pytest.mark.usefixtures("small_pictures")

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/kinetics/mvitv2_s_16x4_k400.py")
NAMES = ["bow", "jump", "wave"]
CLIPS, CROPS = 2, 3
TINY = [
    "model.backbone.embed_dim=8",
    "model.backbone.input_size=[4,64,64]",
    "model.backbone.last_block_indexes=[0,1,2,3]",
    f"model.num_classes={len(NAMES)}",
    f"dataloader.test.dataset.clips={CLIPS}",
    f"dataloader.test.mapper.transform.crops={CROPS}",
    "dataloader.test.mapper.transform.short_side=64",
    "dataloader.test.num_workers=0",
    "train.device=cpu",
]


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> SimpleNamespace:
    """A `finished_run` of a video classifier, with its test videos."""
    folder = tmp_path_factory.mktemp("people")
    for number, name in enumerate(NAMES):
        (folder / "val" / name).mkdir(parents=True)
        write_clip(folder / "val" / name / f"{number}.avi", 24 + 8 * number, 12.5, number)
    cfg = apply_overrides(load_config(CONFIG), [*TINY, f"train.output_dir={folder}"])
    cfg.dataloader.test.dataset = L(video_classes)(
        source=str(folder / "val"), name="people_val", clips=CLIPS
    )
    return finished_run(cfg, folder)


@pytest.fixture(scope="module")
def predictor(people) -> Predictor:
    return Predictor(people.config)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def evaluated(people, predictor) -> dict[str, torch.Tensor]:
    """Scores by file name, from the test loader and the model."""
    views = defaultdict(list)
    for batch in instantiate(people.cfg.dataloader.test):
        with torch.no_grad():
            for name, scores in zip(batch["file_name"], predictor.model(batch)):
                views[name].append(scores)
    assert {len(v) for v in views.values()} == {CLIPS} and len(views) == 3
    assert {v.shape for clips in views.values() for v in clips} == {(CROPS, len(NAMES))}
    return {name: torch.cat(scores).mean(dim=0) for name, scores in views.items()}


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_equals_an_evaluation(people, evaluated, batch_size):
    predictor = Predictor(people.config, batch_size=batch_size)
    scores = predictor(list(evaluated))
    for ours, expected in zip(scores, evaluated.values()):
        close(ours, expected)
        assert ours.sum().item() == pytest.approx(1, abs=1e-5)
    assert (scores[0] - scores[1]).abs().max() > 1e-3


def test_a_720p_video_is_decoded_at_the_size_of_an_evaluation(people, predictor, tmp_path):
    path = str(tmp_path / "720p.avi")
    write_clip(Path(path), 12, 12.5, 5, size=(720, 1280))
    mapper, collate = map(
        instantiate, (people.cfg.dataloader.test[k] for k in ("mapper", "collate_fn"))
    )
    items = [dict(file_name=path, label=0, clip=clip, clips=CLIPS) for clip in range(CLIPS)]
    with torch.no_grad():
        views = predictor.model(collate([mapper(item) for item in items]))
    expected = views.flatten(0, 1).mean(dim=0)
    close(predictor(path), expected)
    stored_size = ["dataloader.train.mapper.resize_on_decoding=false"]
    assert (Predictor(people.config, overrides=stored_size)(path) - expected).abs().max() > 1e-3


def test_an_array_of_frames_is_a_video(people, evaluated):
    # A file is resized as it is converted to RGB, an array after that, so that pixels differ.
    stored_size = "dataloader.train.mapper.resize_on_decoding=false"
    predictor = Predictor(people.config, overrides=[stored_size])
    for name in evaluated:
        expected = predictor(name)
        with open_video(name) as video:
            frames = video.frames(range(len(video)))[..., ::-1]
            close(predictor(frames, fps=video.fps), expected)
            # at another frame rate, a clip of 4 x 4 frames at 30 per second has other frames
            assert (predictor(frames) - expected).abs().max() > 1e-4
    slower = predictor([frames, frames[::-1]], fps=15)
    assert len(slower) == 2 and not torch.equal(*slower)


def test_a_window_is_classified_as_a_separate_video(predictor):
    frames = moving(50, seed=3)
    first, second, last = predictor.over_time(frames, window=1.0, fps=20)
    assert (first.frames, second.frames) == (range(0, 20), range(20, 40))
    assert last.frames == range(30, 50)
    assert (first.start, second.end, last.start, last.end) == (0.0, 2.0, 1.5, 2.5)
    for span in (first, second, last):
        close(span.scores, predictor(frames[span.frames.start : span.frames.stop], fps=20))
    assert (first.scores - last.scores).abs().max() > 1e-3
    [whole] = predictor.over_time(frames, fps=20)
    assert torch.equal(whole.scores, predictor(frames, fps=20)) and whole.end == 2.5


@pytest.mark.parametrize(
    "video, error",
    [
        (np.zeros((4, 64, 64, 3), np.float32), r"not float32 of shape \(4, 64, 64, 3\)"),
        (np.zeros((64, 64, 3), np.uint8), r"array of frames \(N, H, W, 3\) of uint8"),
        (np.zeros((0, 64, 64, 3), np.uint8), "not uint8 of shape"),
        (
            np.zeros((4, 2, 300, 3), np.uint8),
            "A video of 2 x 300 .* no side is more than 100 times",
        ),
        (3, "not int"),
        ("no.mp4", "Video no.mp4 cannot be used: the file does not exist"),
    ],
)
def test_invalid_videos(predictor, video, error):
    with pytest.raises(UserError, match=error):
        predictor(video)


def test_an_invalid_frame_rate(predictor):
    with pytest.raises(UserError, match="fps=0 of a video must be a number above 0"):
        predictor(moving(4, 0), fps=0)


def predict(people, output, *words) -> int:
    line = ["--config-file", str(people.config), *map(str, words), "--output", str(output)]
    return main(argument_parser().parse_intermixed_args(line))


def read(output) -> tuple[list, dict]:
    content = json.loads((output / "images.json").read_text())
    return json.loads((output / "predictions.json").read_text()), content


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A video, another of odd sizes, a folder of frames, a picture, and a broken video."""
    folder = tmp_path / "inputs"
    (folder / "frames").mkdir(parents=True)
    write_clip(folder / "a.avi", 25, 12.5, seed=1)
    write_video(folder / "odd.avi", count=6, fps=10.0, size=(49, 65))
    for number, frame in enumerate(moving(12, seed=2)):
        Image.fromarray(frame[..., ::-1]).save(folder / "frames" / f"{number:03}.png")
    Image.fromarray(moving(1, seed=0)[0]).save(folder / "only.png")
    (folder / "broken.mp4").write_bytes(b"no video" * 50)
    return folder


def test_command_line(people, predictor, inputs, tmp_path, caplog):
    caplog.set_level("INFO", logger="mvit_det")
    output = tmp_path / "out"
    assert predict(people, output, inputs, "--batch-size", 2) == 1
    files = ["a.mp4", "odd.mp4", "frames.mp4", "predictions.json", "images.json"]
    assert {path.name for path in output.iterdir()} == set(files)
    assert f"{inputs / 'only.png'}: a picture, and this config's model takes videos" in caplog.text
    assert f"{inputs / 'broken.mp4'}: the file cannot be opened as a video" in caplog.text
    assert (
        "Wrote 3 annotated videos (43 frames), predictions.json and images.json to "
        f"{output}: up to 5 classes for each of 3 videos or windows. Faulty inputs: 2"
    ) in caplog.text
    rows, content = read(output)
    assert [entry["name"] for entry in content["categories"]] == NAMES
    assert content["images"][0] == {
        "id": 1,
        "file_name": str(inputs / "a.avi"),
        "width": 96,
        "height": 72,
        "annotated": "a.mp4",
        "frames": 25,
        "seconds": 2.0,
    }
    names = [Path(image["file_name"]).name for image in content["images"]]
    assert names == ["a.avi", "odd.avi", "frames"]
    for row, image in zip(rows, content["images"]):
        scores = predictor(image["file_name"])
        assert row["image_id"] == image["id"]
        assert (row["start"], row["end"]) == (0, image["seconds"])
        best, order = scores.sort(descending=True)
        assert [c["name"] for c in row["classes"]] == [NAMES[k] for k in order]
        assert [c["score"] for c in row["classes"]] == pytest.approx(best.tolist(), abs=1e-5)
        assert f"{100 * best[0]:.1f} | {NAMES[order[0]]}" in caplog.text
        annotated = cv2.VideoCapture(str(output / image["annotated"]))
        assert annotated.get(cv2.CAP_PROP_FRAME_COUNT) == image["frames"]


def test_windows_on_the_command_line(people, inputs, tmp_path, caplog):
    caplog.set_level("INFO", logger="mvit_det")
    assert predict(people, tmp_path / "out", inputs / "a.avi", "--window", "0.8") == 0
    rows, content = read(tmp_path / "out")
    assert [(row["start"], row["end"]) for row in rows] == [(0, 0.8), (0.8, 1.6), (1.2, 2)]
    assert len(content["images"]) == 1 and "3 videos or windows" in caplog.text
    assert len({row["classes"][0]["score"] for row in rows}) == 3


def test_results_are_kept_when_drawing_fails(people, inputs, tmp_path, monkeypatch, caplog):
    def damaged(video, stop):
        yield from read_frames(video, 3)
        raise VideoError("frame 3 cannot be decoded")

    monkeypatch.setattr(run_module, "read_frames", damaged)
    assert predict(people, tmp_path / "out", inputs / "a.avi", inputs / "odd.avi") == 1
    rows, content = read(tmp_path / "out")
    assert len(rows) == len(content["images"]) == 2
    assert f"{inputs / 'a.avi'}: frame 3 cannot be decoded" in caplog.text


def test_windows_before_a_damaged_part_are_kept(people, inputs, tmp_path, monkeypatch, caplog):
    def damaged(self, video, window):
        yield from list(spans(self, video, window))[:2]
        raise VideoError("frame 20 cannot be decoded")

    spans = Predictor.spans
    monkeypatch.setattr(Predictor, "spans", damaged)
    assert predict(people, tmp_path / "out", inputs / "a.avi", "--window", "0.8") == 1
    rows, content = read(tmp_path / "out")
    assert [row["end"] for row in rows] == [0.8, 1.6] and content["images"][0]["seconds"] == 1.6
    annotated = cv2.VideoCapture(str(tmp_path / "out" / "a.mp4"))
    assert annotated.get(cv2.CAP_PROP_FRAME_COUNT) == 20  # of 25, those of the two windows
    assert f"{inputs / 'a.avi'}: frame 20 cannot be decoded" in caplog.text


def test_a_stopped_run_keeps_its_results(people, inputs, tmp_path, monkeypatch):
    class Stopping(command.StopRequest):
        """Requested as soon as a frame has been drawn."""

        requested = property(lambda self: drawn[0] if drawn else None, lambda self, value: None)

    drawn = []
    draw = Results.draw
    monkeypatch.setattr(command, "StopRequest", Stopping)
    monkeypatch.setattr(
        Results, "draw", lambda self, *arguments: (draw(self, *arguments), drawn.append(2))[0]
    )
    assert predict(people, tmp_path / "out", inputs / "a.avi", inputs / "odd.avi") == 130
    rows, content = read(tmp_path / "out")
    assert len(rows) == len(content["images"]) == len(drawn) == 1


def test_a_video_cut_short_is_classified_and_reported(people, tmp_path, caplog):
    video = write_numbered(tmp_path / "a.mp4", numbered_frames(90), gop=9, index_first=True)
    cut_short(video, 0.6)
    assert predict(people, tmp_path / "out", video) == 1
    rows, content = read(tmp_path / "out")
    assert len(rows) == 1 and 20 < content["images"][0]["frames"] < 90
    assert f"{video}: it ended after" in caplog.text and "of 3 s (damaged?)" in caplog.text
