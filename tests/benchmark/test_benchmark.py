"""Counts of the benchmark against hand-computed numbers, and its errors."""

import runpy
import sys

import pytest
from benchmark_models import BACKBONE, CASCADE, CLIPS, DETECTOR, RECOGNIZER, SINGLE_SCALE, run
from detectron2.config import LazyConfig, instantiate

from mvit_det.errors import UserError

OTHER_RECOGNIZER = """
from detectron2.config import LazyCall as L
from torch import nn

class Colours(nn.Module):
    def __init__(self, num_classes, input_size):
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Conv2d(3, 5, 1, bias=False)
        self.head = nn.Linear(5, num_classes, bias=False)

    def forward(self, batch):
        return self.head(self.stem(batch["inputs"]).mean(dim=(2, 3)).cumsum(dim=1))

model = L(Colours)(num_classes=2, input_size=(4, 4))
"""


def block_by_hand(dim_in, dim, heads, grid, stride_q, stride_kv, window):
    """Compute (parameters, FLOPs) of a block on a square grid that widens dim_in to dim.

    Args:
        grid, window: tokens along a side, before any pooling.
    """
    head = dim // heads
    tokens, queries = grid**2, (grid // stride_q) ** 2
    side_kv = window // stride_kv  # of the keys that a query sees
    keys = (grid // stride_kv) ** 2
    parameters = (
        2 * dim_in  # norm1
        + (dim_in + 1) * 3 * dim
        + 3 * 9 * head  # pooling q, k, v
        + 3 * 2 * head  # and their norms
        + 2 * head * (2 * (grid // stride_q) - 1)  # relative position, two axes
        + (dim + 1) * dim  # proj
        + 2 * dim  # norm2
        + (dim + 1) * 4 * dim
        + (4 * dim + 1) * dim
        + ((dim_in + 1) * dim if dim != dim_in else 0)  # the widened skip connection
    )
    norm = 5  # fvcore's count for an affine norm, per element
    flops = (
        norm * tokens * dim_in
        + 3 * tokens * dim_in * dim
        + 9 * (queries + 2 * keys) * dim
        + norm * (queries + 2 * keys) * dim
        + 2 * queries * side_kv**2 * dim  # Q K^T and the sum over V
        + 2 * queries * side_kv * dim  # two axes of relative position
        + queries * dim * dim
        + norm * queries * dim
        + 2 * queries * dim * 4 * dim
        + (tokens * dim_in * dim if dim != dim_in else 0)
    )
    return parameters, flops


def test_backbone_counts_equal_hand_computed_numbers(tmp_path, capsys):
    report = run(tmp_path, BACKBONE, "--size", "32", "32", "--repeats", "0")
    first = block_by_hand(8, 8, 1, grid=8, stride_q=1, stride_kv=2, window=4)
    # Its key stride would be 1, but is doubled in full-attention blocks at this scale.
    second = block_by_hand(8, 16, 2, grid=8, stride_q=2, stride_kv=2, window=8)
    parts = {
        "patch_embed": ((3 * 49 + 1) * 8, 64 * 3 * 49 * 8),
        "blocks": (first[0] + second[0], first[1] + second[1]),
        "scale2_norm": (2 * 8, 5 * 64 * 8),
        "scale3_norm": (2 * 16, 5 * 16 * 16),
    }
    found = {name: (part["parameters"], part["flops"]) for name, part in report["parts"].items()}
    assert found == parts
    assert report["parameters"] == sum(n for n, _ in parts.values())
    assert report["flops"] == sum(n for _, n in parts.values())
    assert report["not_counted"] == {}
    output = capsys.readouterr().out
    assert "1 multiply-add = 1 FLOP" in output and "1 x 3 x 32 x 32" in output


def test_detector_counts_equal_hand_computed_numbers(tmp_path, capsys):
    report = run(tmp_path, DETECTOR, "--size", "60", "100", "--repeats", "0")
    flops = {name: part["flops"] for name, part in report["parts"].items()}
    # The image is padded to 64 x 128, strides are 4 to 64.
    places = sum(h * w for h, w in ((16, 32), (8, 16), (4, 8), (2, 4), (1, 2)))
    assert flops["proposal_generator"] == places * (9 * 8 * 8 + 8 * 3 + 8 * 12)
    assert flops["box head"] == 1000 * (49 * 8 * 16 + 16 * 16 + 16 * (3 + 1) + 16 * 4 * 3)
    # one 3 x 3 convolution, one that doubles the side, one 1 x 1
    assert flops["mask head"] == 100 * (14 * 14 * (9 * 8 * 8 + 4 * 8 * 8) + 28 * 28 * 8 * 3)
    assert report["flops"] == sum(flops.values())

    model = instantiate(LazyConfig.load(report["config"]).model)
    sizes = {name: part["parameters"] for name, part in report["parts"].items()}
    assert sum(sizes.values()) == report["parameters"] == sum(p.numel() for p in model.parameters())
    assert sizes["mask head"] == sum(p.numel() for p in model.roi_heads.mask_head.parameters())
    # once per level of the pyramid for boxes, and for masks
    assert report["not_counted"].pop("torchvision::roi_align") == 8
    assert list(report["not_counted"]) == ["compiled functions such as nms"]
    assert "roi_align (8 calls)" in capsys.readouterr().out


def test_cascade_counts_equal_hand_computed_numbers(tmp_path):
    report = run(tmp_path, CASCADE, "--size", "60", "100", "--repeats", "0")
    flops = {name: part["flops"] for name, part in report["parts"].items()}
    places = sum(h * w for h, w in ((16, 32), (8, 16), (4, 8), (2, 4), (1, 2)))
    assert flops["proposal_generator"] == places * (2 * 9 * 8 * 8 + 8 * 3 + 8 * 12)
    norm = 2 * 8  # per place: fvcore's count for an affine norm with known statistics
    stage = 49 * 2 * (9 * 8 * 8 + norm) + 49 * 8 * 16 + 16 * (3 + 1) + 16 * 4
    assert flops["box head"] == 3 * 1000 * stage
    convolutions = 14 * 14 * (9 * 8 * 8 + norm + 4 * 8 * 8) + 28 * 28 * 8 * 3
    assert flops["mask head"] == 100 * convolutions
    sizes = {name: part["parameters"] for name, part in report["parts"].items()}
    # two convolutions with norms, a fully connected layer, classes, one box
    stage = 2 * (9 * 8 * 8 + 2 * 8) + (49 * 8 + 1) * 16 + 17 * (3 + 1) + 17 * 4
    assert sizes["box head"] == 3 * stage
    # once per stage and level of the pyramid, and for masks
    assert report["not_counted"].pop("torchvision::roi_align") == 3 * 4 + 4
    assert list(report["not_counted"]) == ["compiled functions such as nms"]


def test_single_scale_counts_equal_hand_computed_numbers(tmp_path):
    report = run(tmp_path, SINGLE_SCALE, "--size", "64", "96", "--repeats", "0")
    flops = {name: part["flops"] for name, part in report["parts"].items()}
    anchors = 5 * 3
    assert flops["proposal_generator"] == 2 * 3 * (9 * 8 * 8 + 8 * anchors + 8 * 4 * anchors)
    assert flops["box head"] == 1000 * (49 * 8 * 16 + 16 * 16 + 16 * (3 + 1) + 16 * 4 * 3)
    assert flops["mask head"] == 100 * (14 * 14 * (9 * 8 * 8 + 4 * 8 * 8) + 28 * 28 * 8 * 3)
    assert report["flops"] == sum(flops.values())


def test_recognizer_counts_equal_hand_computed_numbers(tmp_path):
    report = run(tmp_path, CLIPS, "--repeats", "0")
    # Tokens 2 x 8 x 8, then 2 x 4 x 4, and one. Of keys, 2 x 1 x 1 and 2 x 2 x 2.
    sizes = {name: part["parameters"] for name, part in report["parts"].items()}
    assert sizes["norm"] == 2 * 16 and sizes["head"] == 17 * 5
    flops = {name: part["flops"] for name, part in report["parts"].items()}
    assert flops["head"] == 16 * 5 and flops["norm"] == 5 * 16 * (2 * 4 * 4 + 1)
    tokens = 0
    for dim_in, dim, grid, queries, keys, sides in (
        (8, 8, 128, 128, 2, 2 + 1 + 1),
        (8, 16, 128, 32, 8, 2 + 2 + 2),
    ):
        pooled = queries + 2 * keys
        tokens += 5 * (grid + 1) * dim_in + 3 * (grid + 1) * dim_in * dim  # norm1, qkv
        tokens += 27 * pooled * dim + 5 * (pooled + 3) * dim
        tokens += 2 * (queries + 1) * (keys + 1) * dim + queries * sides * dim
        tokens += (queries + 1) * dim * (dim + 5 + 2 * 4 * dim)
        tokens += (grid + 1) * dim_in * dim if dim != dim_in else 0
    stem = 128 * 3 * 3 * 49 * 8
    assert flops["backbone"] == stem + tokens
    assert report["not_counted"] == {} and report["input"] == [1, 3, 4, 32, 32]


def test_recognizers_are_counted_without_computing(tmp_path):
    # a clip that exceeds any memory
    huge = run(tmp_path, CLIPS, "--repeats", "0", "--size", "65536", "65536")
    small = run(tmp_path, CLIPS, "--repeats", "0", "--size", "32", "32")
    tokens = (65536 / 4) ** 2 / (32 / 4) ** 2
    patches = 2 * 8 * 8 * 3 * 3 * 49 * 8
    assert huge["parts"]["backbone"]["flops"] > tokens * patches
    assert huge["parameters"] == small["parameters"]
    assert huge["parts"]["head"] == small["parts"]["head"]


def test_operations_that_are_not_counted_are_listed(tmp_path):
    report = run(tmp_path, OTHER_RECOGNIZER, "--repeats", "0", "--size", "8", "6")
    assert report["parts"]["stem"] == {"parameters": 15, "flops": 8 * 6 * 3 * 5}
    assert report["parts"]["head"] == {"parameters": 10, "flops": 10}
    assert report["flops"] == 8 * 6 * 3 * 5 + 10 and report["parameters"] == 25
    assert report["not_counted"] == {"aten::cumsum": 1}


def test_backbone_only(tmp_path):
    report = run(tmp_path, DETECTOR, "--size", "64", "64", "--repeats", "0", "--backbone-only")
    assert report["measured"] == "model.backbone.bottom_up"
    assert list(report["parts"])[:2] == ["patch_embed", "blocks"]


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (BACKBONE, ["--device", "tpu9"], "--device tpu9 cannot be used"),
        (BACKBONE, ["--device", "cuda:77"], "--device cuda:77 cannot be used"),
        (BACKBONE, ["--repeats", "-1"], "--repeats"),
        (BACKBONE, ["--precision", "int8"], "--precision int8 is unknown: choose from fp32"),
        (BACKBONE, ["--json", "no/such/report.json"], "no/such/report.json"),
        (BACKBONE, ["--output", "."], "--output . is a folder"),
        (BACKBONE, ["model.embed_dims=8"], "embed_dim"),
        ("train = dict(a=1)", [], "no `model` to benchmark: add it"),
        (
            "from detectron2.config import LazyCall as L\nfrom torch import nn\n"
            "model = L(nn.Linear)(in_features=3, out_features=2)",
            [],
            "no way to benchmark its model: name the task",
        ),
        (RECOGNIZER, ["--backbone-only"], "--backbone-only needs a detector"),
    ],
)
def test_user_errors_are_one_sentence(tmp_path, config, arguments, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        run(tmp_path, config, *arguments)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_command_line_exits_with_the_sentence(monkeypatch):
    command = ["benchmark", "--config-file", "configs/nonsense.py"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="^error: Config configs/nonsense.py does not exist"):
        runpy.run_module("mvit_det.benchmark", run_name="__main__")
