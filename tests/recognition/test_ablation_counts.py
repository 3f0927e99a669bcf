"""Parameters and FLOPs of the paper's ablations, within 1 % of the figures that it states."""

import pytest
from test_recognizer_counts import build, count, counts

from mvit_det.backbone import VIT_B
from mvit_det.recognition import CLIP_ARGUMENTS

VIT = dict(VIT_B, adaptive_kv_stride=(1, 1))
POOLED_VIT = dict(
    VIT, adaptive_kv_stride=(2, 2), halving_blocks=(6,), full_pooling="qkv", residual_pooling=True
)
# GFLOPs of Table 4a
IMAGES = {
    "ViT-B, full": (VIT, 17.5),
    "ViT-B, fixed windows": (dict(VIT, attention="windows", adaptive_window_size=7), 17.0),
    "ViT-B, Swin": (dict(VIT, attention="swin", adaptive_window_size=7), 17.0),
    "ViT-B, Hwin": (dict(VIT, attention="hwin", adaptive_window_size=7), 17.1),
    "ViT-B, pooling": (POOLED_VIT, 10.9),
    "S, Swin": (dict(attention="swin", adaptive_window_size=(56, 14, 7, 7)), 6.4),
    "S, Hwin": (dict(attention="hwin", adaptive_window_size=(56, 14, 7, 7)), 6.5),
}
# millions of parameters of Table A.6, GFLOPs of Table A.7
CLIPS = {
    "no position": (dict(use_rel_pos=False), 34.4, None),
    "absolute": (dict(use_rel_pos=False, use_abs_pos=True), 34.7, None),
    "time only": (dict(rel_pos_tables=("t",)), 34.4, None),
    "space only": (dict(rel_pos_tables=("h", "w")), 34.5, None),
    "joint space, time": (dict(rel_pos_tables=("t", "hw")), 37.1, None),
    "joint": (dict(rel_pos_tables=("thw",)), 73.7, None),
    "without": (dict(full_pooling="kv", residual_pooling=False), 34.5, 64),
    "residual": (dict(full_pooling="kv"), 34.5, 64),
    "full Q pooling": (dict(residual_pooling=False), 34.5, 65),
}


@pytest.mark.parametrize("row", list(IMAGES))
def test_images(row):
    arguments, flops = IMAGES[row]
    model = build("S", input_size=(224, 224), **arguments)
    assert count(model, (224, 224)) / 1e9 == pytest.approx(flops, rel=0.01)
    if "ViT" in row:
        assert counts.count_parameters(model) / 1e6 == pytest.approx(86.57, abs=0.03)


@pytest.mark.parametrize("row", list(CLIPS))
def test_clips(row):
    changes, parameters, flops = CLIPS[row]
    size = (16, 224, 224)
    model = build("S", 400, input_size=size, **{**CLIP_ARGUMENTS, **changes})
    assert counts.count_parameters(model) / 1e6 == pytest.approx(parameters, rel=0.01)
    assert round(counts.count_parameters(model) / 1e6, 1) == pytest.approx(parameters, abs=0.06)
    if flops:
        assert count(model, size) / 1e9 == pytest.approx(flops, rel=0.01)
