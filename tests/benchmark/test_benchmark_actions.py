"""The benchmark on action detectors: the paper's Table A.2, hand-computed counts, measures."""

import json

import pytest
import torch
from benchmark_models import ACTIONS, CLASSES, ROOT, run
from detectron2.config import LazyConfig, instantiate

from mvit_det.backbone import VARIANTS
from mvit_det.benchmark import counts, subjects
from mvit_det.benchmark.__main__ import argument_parser, main
from mvit_det.tasks import task_of


# Letter, input; millions of parameters and GFLOPs as published, and as counted on PySlowFast's code
# (for L without norms).
@pytest.mark.parametrize(
    ("letter", "size", "published", "parameters", "flops"),
    [
        ("S", (16, 224, 224), (34.3, 64.5), 34.292, 64.46),
        ("B", (32, 224, 224), (51.0, 225.2), 50.984, 225.17),
        ("L", (40, 312, 312), (213.0, 2828), 213.021, None),
    ],
)
def test_table_a2(letter, size, published, parameters, flops):
    row = VARIANTS[letter]
    cfg = LazyConfig.load(str(ROOT / "configs/common/models/action_detector.py"))
    changes = {key: getattr(row, key) for key in ("embed_dim", "num_heads", "last_block_indexes")}
    cfg.model.backbone.update(input_size=size, **changes)
    task = task_of(cfg)
    model = subjects.build_for_counting(cfg, "model", torch.device("cpu"))
    found = counts.count(model, task, subjects.input_shape(cfg, 1, None))
    millions, billions = found["parameters"] / 1e6, found["flops"] / 1e9
    assert millions == pytest.approx(parameters, abs=0.001)
    assert flops is None or billions == pytest.approx(flops, rel=1e-3)
    assert millions == pytest.approx(published[0], abs=0.05)
    assert billions == pytest.approx(published[1], abs=0.05 if published[1] < 1000 else 0.5)
    assert found["not_counted"] == {"torchvision::roi_align": 1}


def test_counts_equal_a_classifiers_except_for_the_head(tmp_path, capsys):
    actions = run(tmp_path, ACTIONS, "--repeats", "0", "--batch", "3")
    classes = run(tmp_path, CLASSES, "--repeats", "0")
    assert actions["parts"]["backbone"] == classes["parts"]["backbone"]
    # one box, and all tokens but the class token: 2 x 8 x 12 at the strides of 2 stages
    assert actions["parts"]["head"] == {"parameters": 17 * 5, "flops": 16 * 5}
    assert actions["parts"]["norm"] == {"parameters": 2 * 16, "flops": 5 * 16 * 2 * 8 * 12}
    assert actions["parameters"] == classes["parameters"]
    assert actions["input"] == [3, 3, 4, 64, 96]
    assert "of actions on one box" in capsys.readouterr().out


def test_a_row_of_the_table(tmp_path, capsys):
    path, report = tmp_path / "actions.py", tmp_path / "report.json"
    published = (
        "published = dict(table='A.2', center=26.8, full=27.6, parameters=34.3, flops=64.5)\n"
    )
    path.write_text(ACTIONS + published)
    found = main(argument_parser().parse_args(["--table", str(path), "--json", str(report)]))
    assert json.loads(report.read_text()) == found
    assert found["rows"][0]["kind"] == "action detector"
    head, _, row = capsys.readouterr().out.strip().splitlines()
    assert head.split(" | ")[1:6] == [
        *("paper: table", "mAP, center", "mAP, full", "parameters, M", "FLOPs, G")
    ]
    assert row.split(" | ")[1:6] == ["A.2", "26.8", "27.6", "34.3", "64.5"]


def test_inputs_have_one_box_per_clip(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(ACTIONS)
    cfg = LazyConfig.load(str(path))
    model, task = instantiate(cfg.model), task_of(cfg)
    inputs, training = task.random_inputs(model, (2, 3, 4, 64, 96), torch.device("cpu"))
    assert [each.shape for each in inputs["boxes"]] == [(1, 4)] * 2
    for x0, y0, x1, y1 in torch.cat(inputs["boxes"]).tolist():
        assert 0 <= x0 < x1 <= 96 and 0 <= y0 < y1 <= 64
    assert [each.shape for each in training["labels"]] == [(1, 5)] * 2
    assert set(inputs) == {"inputs", "boxes"}
    assert set(model.train()(training)) == {"loss_action"}
