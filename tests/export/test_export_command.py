"""The export command, its folder, and the folder in place of a checkpoint."""

import json
import subprocess
import sys

import pytest
from conftest import export
from predict_scenes import picture
from toy_programs import embedded_host

from mvit_det.errors import UserError
from mvit_det.export import parity
from mvit_det.export.__main__ import draw_pictures
from mvit_det.exported import ExportedModel
from mvit_det.predict import Predictor
from mvit_det.tasks import Classification, Detection

pytestmark = [embedded_host, pytest.mark.slow]


def test_detections_equal_the_models(detector_run, exported_detector) -> None:
    images = [picture(90, 120), picture(64, 64, seed=1), picture(130, 70, seed=2)]
    first = Predictor(detector_run.config, detector_run.weights, device="cpu")
    second = Predictor(detector_run.config, exported_detector.folder, batch_size=2)
    for expected, found in zip(first(images), second(images)):
        assert len(expected) == len(found) > 0
        assert expected.image_size == found.image_size
        assert expected.pred_classes.tolist() == found.pred_classes.tolist()
        assert (expected.pred_boxes.tensor - found.pred_boxes.tensor).abs().max() < 1e-3
        assert (expected.scores - found.scores).abs().max() < 1e-5
        assert expected.pred_masks.shape == found.pred_masks.shape


def test_folder_describes_itself(exported_detector) -> None:
    model = json.loads((exported_detector.folder / "model.json").read_text())
    assert model["inputs"]["images"]["axes"] == "N,3,H,W"
    assert list(model["outputs"]) == ["image", "boxes", "scores", "classes", "masks"]
    assert model["preprocessing"]["resize"]["short_side"] == 64
    assert len(model["parity"]["batches"]) == 4
    assert model["parity"]["missing"] == model["parity"]["at_a_cut"]
    assert {"torch", "onnxruntime"} <= model["made_with"].keys()


def test_script_gives_the_results_of_predict_without_torch(exported_detector, tmp_path) -> None:
    folder = exported_detector.folder
    blocked = "import sys; sys.modules.update(torch=None, mvit_det=None)\n"
    words = ["run.py", "--output", str(tmp_path), "--score-threshold", "0", "example.png"]
    call = "runpy.run_path('run.py', run_name='__main__')"
    code = f"{blocked}import runpy; sys.argv = {words!r}; {call}"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    found = json.loads((tmp_path / "predictions.json").read_text())
    expected = json.loads((folder / "example.json").read_text())
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected):
        assert a["category_id"] == b["category_id"]
        assert a["bbox"] == pytest.approx(b["bbox"], abs=1e-3)
        assert a["score"] == pytest.approx(b["score"], abs=1e-5)
        assert a["segmentation"]["size"] == b["segmentation"]["size"]
    same = sum(a["segmentation"] == b["segmentation"] for a, b in zip(found, expected))
    assert same >= len(found) - 1  # a pixel at 0.5 may be rounded either way


def test_foreign_and_broken_folders_are_refused(exported_detector, tmp_path) -> None:
    with pytest.raises(UserError, match=r"has no model\.json: give a checkpoint"):
        ExportedModel(tmp_path, Detection())
    description = (exported_detector.folder / "model.json").read_text()
    (tmp_path / "model.json").write_text(description)
    with pytest.raises(UserError, match=r"lacks model\.onnx: export again"):
        ExportedModel(tmp_path, Detection())
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"model\.onnx cannot be opened"):
        ExportedModel(tmp_path, Detection())
    with pytest.raises(UserError, match="of Detection, but the config is of Classification"):
        ExportedModel(tmp_path, Classification())
    (tmp_path / "model.json").write_text("[")
    with pytest.raises(UserError, match="cannot be read"):
        ExportedModel(tmp_path, Detection())


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--precision", "bf16"], "bf16 is not possible with --format onnx: choose fp32 or fp16"),
        (["--size", "16", "64"], "must be at least 32 32"),
        (["model.test_flip=true"], "test_flip cannot be exported"),
        (["dataloader.test.mapper.augmentations=[]", "--calibration", "none.png"], "none.png"),
    ],
)
def test_what_is_refused(detector_run, tmp_path, flags, message) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    with pytest.raises(UserError, match=message):
        export(detector_run.config, tmp_path, *flags)
    assert not (tmp_path / "model.json").exists()


def test_figures_that_fail_the_proof() -> None:
    good = {"shape": [1, 3, 8, 8], "boxes": 1e-6, "objects": 9, "missing": 2, "at_a_cut": 2}
    parity.check([good], "onnx")
    nan = float("nan")
    for change in ({"boxes": 2e-4}, {"boxes": nan}, {"scores": nan}, {"missing": 3}):
        with pytest.raises(UserError, match="differs from the PyTorch model"):
            parity.check([good, {**good, **change}], "onnx")


def test_drawn_pictures_have_the_size_that_is_asked_for() -> None:
    assert [x.shape for x in draw_pictures((32, 48))] == [(32, 48, 3)] * 3


def test_fixed_size_in_the_format_of_torch(detector_run, tmp_path) -> None:
    flags = ["--format", "torch_export", "--size", "64", "96"]
    description = export(detector_run.config, tmp_path, *flags).description
    assert description["inputs"]["images"]["axes"] == "1,3,64,96"
    found = Predictor(detector_run.config, tmp_path)(picture(80, 120))
    expected = Predictor(detector_run.config, detector_run.weights, device="cpu")(picture(80, 120))
    assert (expected.pred_boxes.tensor - found.pred_boxes.tensor).abs().max() < 1e-3
    with pytest.raises(UserError, match="larger than the 64 x 96 that the model was exported"):
        Predictor(detector_run.config, tmp_path)(picture(60, 150))
    with pytest.raises(UserError, match="batch of 2 samples is too large"):
        list(Predictor(detector_run.config, tmp_path, batch_size=2)([picture(64, 64)] * 2))
    with pytest.raises(UserError, match="exported in fp32, so the precision bf16 cannot be had"):
        Predictor(detector_run.config, tmp_path, precision="bf16")
    with pytest.raises(UserError, match="runs on the CPU: give the device cpu in place of cuda"):
        Predictor(detector_run.config, tmp_path, device="cuda")


def test_bfloat16_in_openvino(detector_run, tmp_path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    flags = ["--format", "openvino", "--precision", "bf16", "dataloader.test.dataset.num_val=4"]
    description = export(detector_run.config, tmp_path, *flags).description
    assert not (tmp_path / "model.onnx").exists()
    # scores change in the third digit, and boxes stay within a pixel where they are the same
    assert 1e-6 < description["parity"]["scores"] < 0.05
    assert description["parity"]["missing"] <= description["parity"]["objects"]
    metrics = description["metrics"]
    assert list(metrics) == ["fp32, PyTorch", "bf16, openvino"]
    assert all("AP" in of_model["bbox"] for of_model in metrics.values())
    assert len(Predictor(detector_run.config, tmp_path)(picture(64, 64))) > 0
