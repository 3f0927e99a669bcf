"""The benchmark: counts against hand-computed numbers, measures on cases with a known answer."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from torch import nn

import mvit_det
from mvit_det.benchmark import subjects, timing
from mvit_det.benchmark.__main__ import argument_parser, main
from mvit_det.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")

# One block of 8 channels in windows of 4 x 4, one of 16 in full attention.
BACKBONE = """
from detectron2.config import LazyCall as L
from mvit_det.detection import MViT

model = L(MViT)(
    img_size=32, embed_dim=8, depth=2, last_block_indexes=(0, 1), out_features=("scale2", "scale3"),
    adaptive_kv_stride=2, adaptive_window_size=4,
)
"""
DETECTOR = f"""
from detectron2.config import LazyConfig

model = LazyConfig.load({str(ROOT / "configs/common/models/mask_rcnn.py")!r}).model
model.backbone.bottom_up.update(embed_dim=8, depth=4, last_block_indexes=(0, 1, 2, 3))
model.backbone.out_channels = 8
model.roi_heads.num_classes = 3
model.roi_heads.box_head.fc_dims = [16, 16]
model.roi_heads.mask_head.conv_dims = [8, 8]
"""
CASCADE = f"""
from detectron2.config import LazyConfig

model = LazyConfig.load({str(ROOT / "configs/common/models/cascade_mask_rcnn.py")!r}).model
model.backbone.bottom_up.update(embed_dim=8, depth=4, last_block_indexes=(0, 1, 2, 3))
model.backbone.out_channels = 8
model.roi_heads.num_classes = 3
for head in model.roi_heads.box_heads:
    head.update(conv_dims=[8, 8], fc_dims=[16])
model.roi_heads.mask_head.conv_dims = [8, 8]
"""
SINGLE_SCALE = f"""
from detectron2.config import LazyConfig

name = {str(ROOT / "configs/mask_rcnn_mvitv2_s_single_scale_3x.py")!r}
model, published = LazyConfig.load(name, ("model", "published"))
model.backbone.update(embed_dim=1, depth=4, last_block_indexes=(0, 1, 2, 3))
model.proposal_generator.head.in_channels = 8
model.roi_heads.num_classes = 3
model.roi_heads.box_head.update(fc_dims=[16, 16])
model.roi_heads.mask_head.conv_dims = [8, 8]
for head in (model.roi_heads.box_head, model.roi_heads.mask_head):
    head.input_shape.channels = 8
"""
# Mean of the tokens, and a class token; nominal sizes of their own.
RECOGNIZER = """
from detectron2.config import LazyCall as L
from mvit_det.recognition import MViT, Recognizer

model = L(Recognizer)(
    backbone=L(MViT)(input_size=(32, 64), embed_dim=8, last_block_indexes=(0, 1)), num_classes=5
)
"""
CLIPS = """
from detectron2.config import LazyCall as L
from mvit_det.recognition import MViT, Recognizer

model = L(Recognizer)(
    backbone=L(MViT)(
        input_size=(4, 32, 32), embed_dim=8, last_block_indexes=(0, 1), class_token=True,
        patch_kernel=(3, 7, 7), patch_stride=(2, 4, 4), patch_padding=(1, 3, 3),
        pool_kernel=(3, 3, 3), adaptive_kv_stride=(1, 8, 8),
    ),
    num_classes=5,
)
"""
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


def run(tmp_path, config, *arguments):
    path = tmp_path / "config.py"
    path.write_text(config)
    return main(
        argument_parser().parse_args(["--config-file", str(path), "--device", "cpu", *arguments])
    )


def block_by_hand(dim_in, dim, heads, grid, stride_q, stride_kv, window):
    """(parameters, FLOPs) of a block on a square grid whose attention widens dim_in to dim.

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


def test_what_is_only_counted_equals_what_is_measured(tmp_path):
    counted, measured = (
        run(tmp_path, CASCADE, "--size", "64", "64", "--repeats", n) for n in ("0", "1")
    )
    assert counted["parts"] == measured["parts"] and "times" not in counted


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


def test_recognizer_counts_equal_hand_computed_numbers(tmp_path):
    report = run(tmp_path, CLIPS, "--repeats", "0")
    # Tokens 2 x 8 x 8, then 2 x 4 x 4, and one. Of keys, 2 x 1 x 1 and 2 x 2 x 2.
    sizes = {name: part["parameters"] for name, part in report["parts"].items()}
    assert sizes["norm"] == 2 * 16 and sizes["head"] == 17 * 5
    flops = {name: part["flops"] for name, part in report["parts"].items()}
    assert flops["head"] == 16 * 5 and flops["norm"] == 5 * 16 * (2 * 4 * 4 + 1)
    tokens = 0
    for dim_in, dim, heads, grid, queries, keys, sides in (
        (8, 8, 1, 128, 128, 2, 2 + 1 + 1),
        (8, 16, 2, 128, 32, 8, 2 + 2 + 2),
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
    # of a clip that no memory holds
    huge = run(tmp_path, CLIPS, "--repeats", "0", "--size", "65536", "65536")
    small = run(tmp_path, CLIPS, "--repeats", "0", "--size", "32", "32")
    tokens = (65536 / 4) ** 2 / (32 / 4) ** 2
    patches = 2 * 8 * 8 * 3 * 3 * 49 * 8
    assert huge["parts"]["backbone"]["flops"] > tokens * patches
    assert huge["parameters"] == small["parameters"]
    assert huge["parts"]["head"] == small["parts"]["head"]


def test_a_recognizer_says_what_is_not_counted(tmp_path):
    report = run(tmp_path, OTHER_RECOGNIZER, "--repeats", "0", "--size", "8", "6")
    assert report["parts"]["stem"] == {"parameters": 15, "flops": 8 * 6 * 3 * 5}
    assert report["parts"]["head"] == {"parameters": 10, "flops": 10}
    assert report["flops"] == 8 * 6 * 3 * 5 + 10 and report["parameters"] == 25
    assert report["not_counted"] == {"aten::cumsum": 1}


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
    with pytest.raises(UserError, match="leave out --backbone-only"):
        table(tmp_path, "--backbone-only", good=DETECTOR)
    with pytest.raises(UserError, match="missing.py does not exist"):
        main(argument_parser().parse_args(["--table", "missing.py", "--device", "cpu"]))
    assert "Counting" not in capsys.readouterr().err
    with pytest.raises(SystemExit):
        argument_parser().parse_args(["--table", "a.py", "--config-file", "b.py"])
    with pytest.raises(SystemExit):
        argument_parser().parse_args([])


def test_report_of_a_detector(tmp_path, capsys):
    path = tmp_path / "report.json"
    report = run(
        tmp_path, DETECTOR, "--size", "64", "64", "--repeats", "2", "--json", str(path),
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


@pytest.mark.parametrize("config", [RECOGNIZER, CLIPS])
def test_report_of_a_recognizer(tmp_path, capsys, config):
    report = run(tmp_path, config, "--repeats", "1", "--batch", "2")
    assert report["input"][0] == 2 and list(report["times"]) == ["model"]
    results = report["times"]["model"]
    assert list(results) == ["fused", "plain"]
    for result in results.values():
        assert all(len(result[key]) == 1 and result[key][0] > 0 for key in timing.TIMES)
        assert min(result[key] for key in timing.SIZES) > 0
    assert "model, plain / fused" in capsys.readouterr().out


def test_ratios_are_of_medians_with_the_range_over_rounds():
    sizes = dict.fromkeys(timing.SIZES, 3)
    fused = {"forward": [1.0, 2.0, 4.0], "training_step": [1.0, 1.0, 1.0], **sizes}
    plain = {
        "forward": [3.0, 3.0, 3.0],
        "training_step": [2.0, 4.0, 3.0],
        **sizes,
        "forward_peak": 6,
    }
    ratios = timing.compare({"fused": fused, "plain": plain})["plain / fused"]
    assert ratios["forward"] == {"median": 1.5, "min": 0.75, "max": 3.0}
    assert ratios["training_step"] == {"median": 3.0, "min": 2.0, "max": 4.0}
    assert ratios["forward_peak"] == 2 and ratios["saved_for_backward"] == 1


def test_models_are_measured_in_turn(monkeypatch):
    order = []

    class Noted(nn.Linear):
        def forward(self, x):
            order.append((self.out_features, self.training))
            return {"y": super().forward(x)}

    monkeypatch.setattr(timing, "peak_memory", lambda run, device: 1)
    monkeypatch.setattr(timing, "saved_memory", lambda run, model: 1)
    x = torch.ones(1, 2)
    timing.measure({"a": Noted(2, 3), "b": Noted(2, 4)}, (x, x), 2, CPU, "")
    # one warm-up and two rounds of inference, then two rounds of training
    assert order == [(3, False), (4, False)] * 3 + [(3, True), (4, True)] * 2


def test_memory_of_a_known_computation():
    weight = nn.Linear(100, 100, bias=False)
    x = torch.ones(1000, 100)
    element = x.element_size()

    def step():
        (weight(x).exp() * 2).sum().backward()

    # The input for the weight's gradient and the result of exp; the weight itself is no extra.
    assert timing.saved_memory(step, weight) == element * (x.numel() + 1000 * 100)

    def copies():
        a = x + 1  # 1
        b = torch.cat([a, a])  # 3
        del a  # 2
        return b + 1  # 4

    copies()
    assert timing.peak_memory(copies, CPU) == pytest.approx(4 * x.numel() * element, rel=1e-3)


def test_a_backbone_without_the_switch_is_measured_alone(tmp_path):
    report = run(tmp_path, OTHER_BACKBONE, "--size", "8", "6", "--repeats", "1")
    assert report["flops"] == 8 * 6 * 3 * 5
    assert list(report["times"]["backbone"]) == ["model"] and report["ratios"] == {"backbone": {}}


def test_backbone_only(tmp_path):
    report = run(tmp_path, DETECTOR, "--size", "64", "64", "--repeats", "0", "--backbone-only")
    assert report["measured"] == "model.backbone.bottom_up"
    assert list(report["parts"])[:2] == ["patch_embed", "blocks"]


@pytest.mark.skipif(mvit_det.host() != "real", reason="the embedded host has no MViT")
def test_detectron2s_own_backbone_is_the_same_network_or_left_out(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(BACKBONE)
    cfg = LazyConfig.load(str(path))
    cfg.model.update(depth=3, last_block_indexes=(0, 1, 2), rel_pos_zero_init=False)
    ours = instantiate(cfg.model).eval()
    twin = subjects.build_twin(cfg, ours).eval()
    images = torch.randn(1, 3, 40, 32)
    with torch.no_grad():
        for name, value in ours(images).items():
            torch.testing.assert_close(twin(images)[name], value, rtol=1e-4, atol=1e-4)
    cfg.model.coarse_global_kv = False
    assert subjects.build_twin(cfg, instantiate(cfg.model)) is None
    cfg.model.update(depth=2, last_block_indexes=(0, 1), coarse_global_kv=True)
    # Detectron2's MViT has three stages at least.
    assert subjects.build_twin(cfg, instantiate(cfg.model)) is None


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (BACKBONE, ["--device", "tpu9"], "--device tpu9 cannot be used"),
        (BACKBONE, ["--device", "cuda:77"], "--device cuda:77 cannot be used"),
        (BACKBONE, ["--repeats", "-1"], "--repeats"),
        (BACKBONE, ["--json", "no/such/report.json"], "no/such/report.json"),
        (BACKBONE, ["--output", "."], "--output . is a folder"),
        (BACKBONE, ["model.embed_dims=8"], "embed_dim"),
        ("train = dict(a=1)", [], "no `model`"),
        (
            "from detectron2.config import LazyCall as L\nfrom torch import nn\n"
            "model = L(nn.Linear)(in_features=3, out_features=2)",
            [],
            "no way to benchmark its model: name the task",
        ),
        (RECOGNIZER, ["--backbone-only"], "--backbone-only is for detectors"),
    ],
)
def test_user_errors_are_one_sentence(tmp_path, config, arguments, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        run(tmp_path, config, *arguments)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_command_line_ends_with_the_sentence_alone(monkeypatch):
    command = ["benchmark", "--config-file", "configs/nonsense.py"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="^error: Config configs/nonsense.py does not exist"):
        runpy.run_module("mvit_det.benchmark", run_name="__main__")
