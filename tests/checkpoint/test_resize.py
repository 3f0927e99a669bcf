"""A table resized at load gives the result of the backbone with the file's table."""

import pytest
import torch
from weight_files import backbone_of_detector, classifier, clip_classifier, mvit_names

from mvit_det.backbone.position import absolute_position, resize_table
from mvit_det.checkpoint import fit
from mvit_det.checkpoint.layout import layout_of
from mvit_det.checkpoint.resize import ShapeMismatch, adapt
from mvit_det.checkpoint.weights import from_content


def loaded(source, model):
    """Load the source's weights into the model; also return the report."""
    fitted = fit(from_content(mvit_names(source), "x.pyth"), model.state_dict())
    assert fitted.report.complete
    model.load_state_dict(fitted.state, strict=True)
    return model, fitted.report


OPTIONS = [{}, dict(use_abs_pos=True), dict(class_token=True, use_abs_pos=True)]
CASES = [*(((96, 32), options) for options in OPTIONS), ((32, 64), OPTIONS[-1])]
CASES += [((96, 32), dict(rel_pos_tables=("hw",), rel_pos_on="qk"))]


@pytest.mark.parametrize("size, options", [*CASES, ((8, 96, 64), {})])
def test_at_load_and_at_run_time_are_equal(size, options):
    build = clip_classifier if len(size) == 3 else classifier
    source = build(**options)
    model, report = loaded(source, build(input_size=size, **options))
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(x), source.logits(x), rtol=0, atol=0)
    before, after = source.state_dict(), model.state_dict()
    tables = {name for name in before if before[name].shape != after[name].shape}
    assert set(report.resized) == tables and len(tables) >= 6
    assert all("rel_pos" in name or "pos_embed" in name for name in tables)


def test_a_detector_takes_the_tables_of_a_classifier():
    source = classifier(class_token=True)
    backbone = backbone_of_detector(img_size=128)
    fitted = fit(from_content(mvit_names(source), "x.pyth"), backbone.state_dict())
    table = source.backbone.blocks[0].attn.rel_pos_h
    assert fitted.state["blocks.0.attn.rel_pos_h"].equal(resize_table(table, 63))
    assert fitted.report.resized["blocks.0.attn.rel_pos_h"] == "31 -> 63 rows, linear"


def networks(source, model):
    return layout_of(mvit_names(source)), layout_of(mvit_names(model))


@pytest.mark.parametrize("file_row", [True, False])
@pytest.mark.parametrize("model_row", [True, False])
def test_the_row_of_a_class_token_is_kept_dropped_or_unchanged(file_row, model_row):
    source = classifier(use_abs_pos=True, class_token=file_row)
    model = classifier(use_abs_pos=True, class_token=model_row, input_size=(96, 32))
    tensor, target = source.backbone.pos_embed, model.backbone.pos_embed
    adapted, note = adapt("pos_embed", tensor, target, *networks(source, model))
    grid = absolute_position(tensor[:, int(file_row) :], (16, 16), (24, 8)).flatten(1, 2)
    assert adapted.shape == target.shape and adapted[:, int(model_row) :].equal(grid)
    assert note.startswith("16x16 -> 24x8 tokens, bicubic")
    if model_row:
        assert adapted[:, :1].equal((tensor if file_row else target)[:, :1])
    assert ("stays the model's" in note) == (model_row and not file_row)
    assert ("without the row" in note) == (file_row and not model_row)


def test_an_equal_grid_is_not_resampled():
    source = classifier(use_abs_pos=True, class_token=True)
    model = classifier(use_abs_pos=True)
    tensor, target = source.backbone.pos_embed, model.backbone.pos_embed
    adapted, note = adapt("pos_embed", tensor, target, *networks(source, model))
    assert adapted.equal(tensor[:, 1:]) and note == "without the row of the class token"


def test_grids_with_equally_many_rows_are_distinguished():
    source = classifier(use_abs_pos=True)  # 16 x 16 tokens
    model = classifier(use_abs_pos=True, input_size=(128, 32))  # 32 x 8
    tensor, target = source.backbone.pos_embed, model.backbone.pos_embed
    adapted, note = adapt("pos_embed", tensor, target, *networks(source, model))
    assert adapted.shape == tensor.shape and note == "16x16 -> 32x8 tokens, bicubic"
    assert adapted.equal(absolute_position(tensor, (16, 16), (32, 8)).flatten(1, 2))


def test_split_position_embeddings_are_resized_part_by_part():
    networks_ = networks(clip_classifier(), clip_classifier(input_size=(8, 96, 64)))
    spatial, temporal = torch.randn(1, 256, 16), torch.randn(1, 2, 16)
    adapted, _ = adapt("pos_embed_spatial", spatial, torch.zeros(1, 24 * 16, 16), *networks_)
    assert adapted.equal(absolute_position(spatial, (16, 16), (24, 16)).flatten(1, 2))
    adapted, note = adapt("pos_embed_temporal", temporal, torch.zeros(1, 4, 16), *networks_)
    assert adapted[0].equal(resize_table(temporal[0], 4)) and note == "2 -> 4 rows, linear"
    adapted, note = adapt("pos_embed_temporal", temporal, torch.zeros(1, 2, 16), *networks_)
    assert adapted is temporal and note is None
    joint = torch.zeros(1, 2 * 16 * 16, 16), torch.zeros(1, 4 * 24 * 16, 16)
    with pytest.raises(ShapeMismatch, match="a joint position embedding of time and space"):
        adapt("pos_embed", *joint, *networks_)


def test_a_table_that_is_not_a_grid_is_refused():
    layouts = networks(classifier(), classifier())
    with pytest.raises(ShapeMismatch, match="embedding of 39 rows, which are not a square grid"):
        adapt("pos_embed", torch.zeros(1, 39, 16), torch.zeros(1, 256, 16), *layouts)


def test_convolutions_over_one_frame_and_over_none_are_the_same():
    layouts = networks(classifier(), classifier())
    flat, deep = torch.randn(16, 1, 3, 3), torch.zeros(16, 1, 1, 3, 3)
    adapted, note = adapt("blocks.0.attn.pool_q.weight", flat, deep, *layouts)
    assert adapted.equal(flat.unsqueeze(2))
    assert note == "16x1x3x3 -> 16x1x1x3x3, the same convolution"
    adapted, _ = adapt("blocks.0.attn.pool_q.weight", adapted, flat, *layouts)
    assert adapted.equal(flat)
    with pytest.raises(ShapeMismatch, match="shape 16x1x3x3, the model has 8x1x1x3x3"):
        adapt("blocks.0.attn.pool_q.weight", flat, deep[:8], *layouts)


def test_a_convolution_over_time_does_not_fit_images():
    layouts = networks(clip_classifier(), classifier())
    deep, flat = torch.zeros(16, 3, 3, 7, 7), torch.zeros(16, 3, 7, 7)
    with pytest.raises(
        ShapeMismatch, match="over clips, 3 frames deep, the model has one over images"
    ):
        adapt("patch_embed.proj.weight", deep, flat, *layouts)
    with pytest.raises(ShapeMismatch, match="shape 16x3x7x7, the model has 16x3x3x5x7"):
        adapt("patch_embed.proj.weight", flat, torch.zeros(16, 3, 3, 5, 7), *layouts[::-1])
