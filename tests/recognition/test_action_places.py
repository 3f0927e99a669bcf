"""The action detector reads features at the place of each box, in clips of any size."""

import math

import pytest
import torch
import torch.nn.functional as F
from small_action import BOXES, SMALL, detector, random_clips
from torch import nn

from mvit_det.recognition import ActionDetector, ClassifierMViT
from mvit_det.recognition.action import box_features

FIGURE, FIGURES = 40, 5  # pixels of a side; how many
SIZES = [(224, 224), (312, 312), (224, 320), (225, 287), (200, 346)]


def colour_detector() -> ActionDetector:
    """Build an MViT whose attention and MLPs add nothing, so that only its skip connections remain.

    Each cell then has the colours around it, and class k is the k-th colour.
    """
    backbone = ClassifierMViT(
        **{**SMALL, "embed_dim": 8, "last_block_indexes": (0, 1, 2, 3)},
        in_chans=FIGURES,
        norm_layer=lambda dim: nn.Identity(),
    )
    model = ActionDetector(backbone, FIGURES, norm_layer=lambda dim: nn.Identity()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        # the middle pixel of each patch, in both of its frames
        backbone.patch_embed.proj.weight[:FIGURES, :, 1:, 3, 3] = (
            0.5 * torch.eye(FIGURES)[..., None]
        )
        for block in backbone.blocks[1:]:
            nn.init.eye_(block.proj.weight)
        nn.init.eye_(model.head.projection.weight)
    return model


def scene(height: int, width: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Draw five clips with a square in each corner and one in the middle; return their boxes too.

    In clip n the square at place k has colour (k + n) modulo 5.
    """
    right, low = width - FIGURE, height - FIGURE
    places = [(0, 0), (right, 0), (right // 2, low // 2), (0, low), (right, low)]
    clips = torch.zeros(FIGURES, FIGURES, 4, height, width)
    for number in range(FIGURES):
        for k, (x, y) in enumerate(places):
            clips[number, (k + number) % FIGURES, :, y : y + FIGURE, x : x + FIGURE] = 1
    boxes = torch.tensor([[x, y, x + FIGURE, y + FIGURE] for x, y in places]).float()
    return clips, [boxes] * FIGURES


def matches(rows: torch.Tensor) -> bool:
    """Return whether each box of `scene` has the colour of its square and little of any other."""
    colours = torch.tensor([[(k + n) % FIGURES for k in range(FIGURES)] for n in range(FIGURES)])
    expected = F.one_hot(colours.flatten()).bool()
    return bool(rows[expected].min() > 0.9 and rows[~expected].max() < 0.5)


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_a_box_reads_the_square_that_it_encloses(size):
    model = colour_detector()
    clips, boxes = scene(*size)
    assert matches(model.logits(clips, boxes))
    # at any other scale, such as PySlowFast's default of 1/16, it would not
    maps = model.backbone.encode(clips)[0].mean(dim=1).movedim(-1, 1)
    assert matches(box_features(maps, boxes, 1 / 32, 7)[:, :FIGURES])
    wrong_boxes = [rows.roll(1, dims=0) for rows in boxes]
    assert not matches(box_features(maps, wrong_boxes, 1 / 32, 7)[:, :FIGURES])
    for stride in (4, 8, 16, 24, 64):
        assert not matches(box_features(maps, boxes, 1 / stride, 7)[:, :FIGURES]), stride


@torch.no_grad()
def test_cells_are_centred_on_multiples_of_the_stride():
    """RoIAlign assumes them half a cell further on: see the note in `box_features`."""
    columns = range(0, 160, 4)
    clips = torch.zeros(len(columns), FIGURES, 4, 32, 160)
    for clip, column in zip(clips, columns):
        clip[..., column] = 1
    # which of the five cells the bright column reaches
    tokens, _ = colour_detector().backbone.encode(clips)
    reached = tokens[:, 0, 0, :, 0] > 0
    for cell in (1, 2, 3):
        field = [column for column, cells in zip(columns, reached) if cells[cell]]
        assert sum(field) / len(field) == 32 * cell


def weights_along(start: float, end: float, cells: int) -> torch.Tensor:
    """Compute the share of each cell in each bin of RoIAlign along one axis: (7, cells).

    A bin averages as many samples as it is cells long, rounded up; a sample lies between two cells.
    """
    start, length = start / 32 - 0.5, (end - start) / 32
    samples = math.ceil(length / 7)
    weights = torch.zeros(7, cells)
    for bin in range(7):
        for sample in range(samples):
            place = start + length * (bin + (sample + 0.5) / samples) / 7
            if -1 <= place <= cells:
                place = min(max(place, 0), cells - 1)
                share = place - int(place)
                weights[bin, int(place)] += (1 - share) / samples
                weights[bin, min(int(place) + 1, cells - 1)] += share / samples
    return weights


@pytest.mark.parametrize("size", [(4, 64, 64), (4, 224, 398), (7, 150, 117), (2, 33, 70)])
@torch.no_grad()
def test_logits_equal_those_of_plain_alignment_frame_by_frame(size):
    model = detector().eval()
    nn.init.normal_(model.norm.weight)
    height, width = size[1:]
    extent = torch.tensor([width, height, width, height])
    shares = torch.tensor([[0.1, 0.3, 0.4, 0.9], [0, 0, 1, 1], [-0.2, 0.5, 0.1, 1.2]])
    boxes = [shares * extent, shares[1:2].repeat(2, 1) * extent * 0.7]
    clips = random_clips(*size, count=2)
    expected, maximum_first = [], []
    for clip, clip_boxes in zip(clips, boxes):
        tokens = model.norm(model.backbone.encode(clip[None])[0])[0]
        for x0, y0, x1, y1 in clip_boxes.tolist():
            down, across = (
                weights_along(y0, y1, tokens.shape[1]),
                weights_along(x0, x1, tokens.shape[2]),
            )
            frames = [torch.einsum("ih,jw,hwc->ijc", down, across, frame) for frame in tokens]
            expected.append(torch.stack(frames).mean(dim=0).amax(dim=(0, 1)))
            maximum_first.append(torch.stack(frames).amax(dim=(1, 2)).mean(dim=0))
    logits = model.logits(clips, boxes)
    torch.testing.assert_close(logits, model.head(torch.stack(expected)), rtol=1e-5, atol=1e-5)
    if size[0] > 2:
        wrong = model.head(torch.stack(maximum_first))
        assert not torch.allclose(logits, wrong, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_empty_boxes_and_boxes_outside_the_clip_have_no_features():
    model = detector().eval()
    nn.init.normal_(model.head.projection.bias)
    boxes = torch.tensor([[30.0, 20.0, 30.0, 20.0], [300.0, 300.0, 340.0, 350.0]])
    (rows,) = model({"inputs": random_clips(4, 64, 64, count=1), "boxes": [boxes]})
    torch.testing.assert_close(rows, model.head.projection.bias.sigmoid().expand(2, 7))


def test_the_stride_of_the_boxes_is_that_of_the_map():
    assert detector().stride == 32
    finer = dict(SMALL, patch_stride=(2, 2, 2))
    assert detector(backbone=finer).stride == 16
    with pytest.raises(ValueError, match="32 pixels down and 64 across"):
        detector(backbone=dict(SMALL, patch_stride=(2, 4, 8)))
    with pytest.raises(ValueError, match="for images"):
        ActionDetector(ClassifierMViT())
    for stride in (8, 16, 64):
        model = detector()
        model.stride = stride
        with pytest.raises(RuntimeError, match=r"\(3, 4\) cells, at out_stride"):
            model.logits(random_clips(4, 70, 120), BOXES)
