"""What `torch.export` traces equals the modules, for sizes that it has not seen."""

import pytest
import torch
from networks import network, small_plan
from small_action import BOXES, detector, random_clips
from toy_programs import embedded_host, pictures, toy_program

from mvit_det.backbone.plan import set_attention, set_pooling
from mvit_det.errors import UserError
from mvit_det.export import parity
from mvit_det.export.convert import trace
from mvit_det.export.precision import lower
from mvit_det.recognition.program import ActionProgram, ClassifierProgram

ANY_SIZE = {"x": ("float32", "N,3,H,W", "")}


def program_of(module, example, ports):
    return trace(module, example, ports).module(check_guards=False)


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    module = network(small_plan())
    return module, program_of(module, (torch.randn(2, 3, 96, 160),), ANY_SIZE)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 75, 131), (1, 225, 90)])
def test_backbone_of_other_sizes(traced, shape) -> None:
    module, program = traced
    batch, height, width = shape
    x = torch.randn(batch, 3, height, width)
    found = program(x)
    for name, expected in module(x).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [dict(rel_pos_on="qkv"), dict(rel_pos_tables=("hw",))],
    ids=["position of q, k and v", "joint position"],
)
def test_shifted_windows_of_other_sizes(options) -> None:
    torch.manual_seed(0)
    plan = set_attention(small_plan(window=None, coarse_kv=()), "swin", (16, 16))
    module = network(set_pooling(plan, "kv"), **options)
    program = program_of(module, (torch.randn(2, 3, 96, 160),), ANY_SIZE)
    # the last is not larger than a window
    for batch, height, width in [(1, 75, 131), (2, 225, 90), (1, 40, 64)]:
        x = torch.randn(batch, 3, height, width)
        found = program(x)
        for name, expected in module(x).items():
            torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_action_detector_with_any_number_of_boxes() -> None:
    model = detector().eval()
    program = ActionProgram(model).eval()
    batch = {"inputs": random_clips(4, 64, 96), "boxes": BOXES}
    exported = program_of(program, program.encode(batch, program.inputs), program.inputs)
    none = {"inputs": random_clips(4, 64, 64, count=1), "boxes": [torch.zeros(0, 4)]}
    one = {"inputs": random_clips(4, 75, 70, count=1), "boxes": BOXES[:1]}
    for other in (batch, none, one):
        (found,) = exported(*program.encode(other, program.inputs))
        (expected,) = program.reference(other)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        assert [len(x) for x in program.decode((found,), other)] == [len(x) for x in other["boxes"]]


@torch.no_grad()
def test_inputs_of_a_classifier() -> None:
    ports = {"inputs": ("float32", "N,3,4,H,W", "")}
    views = {"inputs": torch.randn(2, 5, 3, 4, 8, 8)}
    (rows,) = ClassifierProgram.encode(views, ports)
    assert rows.shape == (10, 3, 4, 8, 8)
    assert ClassifierProgram.decode((torch.rand(10, 7),), views).shape == (2, 5, 7)
    single = {"inputs": torch.randn(2, 3, 4, 8, 8)}
    assert ClassifierProgram.encode(single, ports)[0] is single["inputs"]
    assert ClassifierProgram.decode((torch.rand(2, 7),), single).shape == (2, 7)
    with pytest.raises(UserError, match="8 x 8 pixels.* do not fit the 16 x 8 .*--size 8 8"):
        ClassifierProgram.encode(single, {"inputs": ("float32", "1,3,4,16,8", "")})


@embedded_host
@torch.no_grad()
@pytest.mark.parametrize("cascade", [False, True], ids=["mask", "cascade"])
def test_detector_on_batches_of_other_sizes(cascade) -> None:
    program = toy_program(cascade)
    example = program.encode(pictures((96, 160), (70, 150)), program.inputs)
    exported = program_of(program, example, program.inputs)
    batches = pictures((64, 64)), pictures((100, 130), (55, 77), (33, 40))
    for batch in batches:
        found = exported(*program.encode(batch, program.inputs))
        figures = program.compare(program.reference(batch), found)
        assert figures["objects"] >= 20 * len(batch) / 2
        assert figures["missing"] == figures["at_a_cut"]
        assert max(figures[name] for name in ("boxes", "scores", "masks")) < 1e-5
        for expected, given in zip(program.unchanged[0](batch), program.decode(found, batch)):
            a, b = expected["instances"], given["instances"]
            assert a.image_size == b.image_size
            assert a.pred_classes.tolist() == b.pred_classes.tolist()


@embedded_host
@torch.no_grad()
@pytest.mark.parametrize("cascade", [False, True], ids=["mask", "cascade"])
def test_detector_that_finds_nothing(cascade) -> None:
    program = toy_program(cascade)
    heads = program.model.roi_heads.box_predictor
    for predictor in heads if cascade else [heads]:
        predictor.test_score_thresh = 1.0
    batch = pictures((96, 160), (70, 150))
    example = program.encode(batch, program.inputs)
    image, boxes, scores, classes, masks = program_of(program, example, program.inputs)(*example)
    assert image.shape == scores.shape == classes.shape == (0,)
    assert boxes.shape == (0, 4) and masks.shape[0] == 0


@embedded_host
@torch.no_grad()
def test_bfloat16_leaves_the_arithmetic_of_boxes_in_float32() -> None:
    program = toy_program(cascade=False)
    batch = pictures((200, 260), (180, 160))
    lower(program, "bf16")
    example = program.encode(batch, program.inputs)
    found = program_of(program, example, program.inputs)(*example)
    assert {x.dtype for x in found} == {torch.float32, torch.int64}
    figures = program.compare(program.reference(batch), found)
    assert 1e-5 < figures["boxes"] < 2e-3
    assert figures["missing"] < figures["objects"] / 4


@embedded_host
@pytest.mark.parametrize(
    "options, word", [({"soft_nms": "linear"}, "soft_nms"), ({"test_flip": True}, "test_flip")]
)
def test_what_cannot_be_exported_is_refused_by_name(options, word) -> None:
    with pytest.raises(UserError, match=word):
        toy_program(cascade=False, **options)


@torch.no_grad()
def test_comparison_counts_what_is_missing() -> None:
    program = toy_program(cascade=False)
    expected = program.reference(pictures((96, 160)))
    fewer = [x[1:] for x in expected]
    figures = program.compare(expected, fewer)
    assert figures["missing"] == 1 and figures["boxes"] == 0
    moved = [expected[0], expected[1] + 0.05, *expected[2:]]
    assert program.compare(expected, moved)["boxes"] > parity.TOLERANCE
