"""Times and memory of the benchmark, and the variants of a model that it compares."""

import json

import pytest
import torch
from benchmark_models import ACTIONS, BACKBONE, CLIPS, DETECTOR, RECOGNIZER, run
from detectron2.config import LazyConfig, instantiate
from torch import nn

import mvit_det
from mvit_det.benchmark import subjects, timing

CPU = torch.device("cpu")

OTHER_BACKBONE = """
from detectron2.config import LazyCall as L
from detectron2.modeling import Backbone
from torch import nn

class Pixels(Backbone):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 1)

    def forward(self, x):
        return {"pixels": self.conv(x)}

model = L(Pixels)()
"""


def test_report_of_a_detector(tmp_path, capsys):
    path = tmp_path / "report.json"
    report = run(
        tmp_path, DETECTOR, "--size", "32", "32", "--repeats", "2", "--json", str(path),
        "model.roi_heads.num_classes=2",
    )  # fmt: skip
    assert json.loads(path.read_text()) == report
    assert report["overrides"] == ["model.roi_heads.num_classes=2"]
    assert report["host"] == mvit_det.host() and report["torch"] == torch.__version__
    others = ["plain", "detectron2"] if mvit_det.host() == "real" else ["plain"]
    assert {part: list(runs) for part, runs in report["times"].items()} == {
        "model": ["fused", "plain"],
        "backbone": ["fused", *others],
    }
    for runs in report["times"].values():
        for result in runs.values():
            assert all(len(result[key]) == 2 and min(result[key]) > 0 for key in timing.TIMES)
            assert result["training_peak"] > result["saved_for_backward"] > 0
    assert list(report["ratios"]["backbone"]) == [f"{name} / fused" for name in others]
    assert "model, plain / fused" in capsys.readouterr().out


@pytest.mark.parametrize("config", [RECOGNIZER, CLIPS, ACTIONS])
def test_report_of_a_recognizer(tmp_path, capsys, config):
    report = run(tmp_path, config, "--repeats", "1", "--batch", "2")
    assert report["input"][0] == 2 and list(report["times"]) == ["model"]
    results = report["times"]["model"]
    assert list(results) == ["fused", "plain"]
    for result in results.values():
        assert all(len(result[key]) == 1 and result[key][0] > 0 for key in timing.TIMES)
        assert min(result[key] for key in timing.SIZES) > 0
    assert "model, plain / fused" in capsys.readouterr().out
    # counted on the meta device
    counted = run(tmp_path, config, "--repeats", "0")
    assert counted["parts"] == report["parts"] and "times" not in counted


def test_ratios_are_of_medians_with_the_range_over_rounds():
    sizes = dict.fromkeys(timing.SIZES, 3)
    fused = {"forward": [1.0, 2.0, 4.0], "training_step": [1.0, 1.0, 1.0], **sizes}
    plain = {
        "forward": [3.0, 3.0, 3.0],
        "training_step": [2.0, 4.0, 3.0],
        **sizes,
        "forward_peak": 6,
    }
    ratios = timing.compare_models({"fused": fused, "plain": plain})["plain / fused"]
    assert ratios["forward"] == {"median": 1.5, "min": 0.75, "max": 3.0}
    assert ratios["training_step"] == {"median": 3.0, "min": 2.0, "max": 4.0}
    assert ratios["forward_peak"] == 2 and ratios["saved_for_backward"] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_are_measured_in_turn(dtype, monkeypatch):
    order = []

    class RecordingLinear(nn.Linear):
        def forward(self, x):
            order.append((self.out_features, self.training))
            y = super().forward(x)
            assert y.dtype is dtype
            return {"y": y}

    monkeypatch.setattr(timing, "peak_memory", lambda run, device: 1)
    monkeypatch.setattr(timing, "saved_memory", lambda run, model: 1)
    x = torch.ones(1, 2)
    timing.measure_models(
        {"a": RecordingLinear(2, 3), "b": RecordingLinear(2, 4)}, (x, x), 2, CPU, "", dtype
    )
    # one warm-up and two rounds of inference, then two rounds of training
    assert order == [(3, False), (4, False)] * 3 + [(3, True), (4, True)] * 2


def test_memory_of_a_known_computation():
    weight = nn.Linear(100, 100, bias=False)
    x = torch.ones(1000, 100)
    element = x.element_size()

    def step():
        (weight(x).exp() * 2).sum().backward()

    # The input for the weight's gradient and the result of exp; the weight itself does not count.
    assert timing.saved_memory(step, weight) == element * (x.numel() + 1000 * 100)

    def copies():
        a = x + 1  # 1
        b = torch.cat([a, a])  # 3
        del a  # 2
        return b + 1  # 4

    copies()
    assert timing.peak_memory(copies, CPU) == pytest.approx(4 * x.numel() * element, rel=1e-3)


def test_a_backbone_without_fused_attention_is_not_compared(tmp_path):
    report = run(tmp_path, OTHER_BACKBONE, "--size", "8", "6", "--repeats", "1")
    assert report["flops"] == 8 * 6 * 3 * 5
    assert list(report["times"]["backbone"]) == ["model"] and report["ratios"] == {"backbone": {}}


@pytest.mark.skipif(mvit_det.host() != "real", reason="the embedded host has no MViT")
def test_detectron2s_backbone_is_the_same_network_or_omitted(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(BACKBONE)
    cfg = LazyConfig.load(str(path))
    cfg.model.update(depth=3, last_block_indexes=(0, 1, 2), rel_pos_zero_init=False)
    ours = instantiate(cfg.model).eval()
    theirs = subjects.build_detectron2_mvit(cfg, ours).eval()
    images = torch.randn(1, 3, 40, 32)
    with torch.no_grad():
        for name, value in ours(images).items():
            torch.testing.assert_close(theirs(images)[name], value, rtol=1e-4, atol=1e-4)
    cfg.model.coarse_global_kv = False
    assert subjects.build_detectron2_mvit(cfg, instantiate(cfg.model)) is None
    cfg.model.update(depth=2, last_block_indexes=(0, 1), coarse_global_kv=True)
    # Detectron2's MViT needs at least three stages.
    assert subjects.build_detectron2_mvit(cfg, instantiate(cfg.model)) is None
