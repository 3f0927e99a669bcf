"""Quantised models: attention, which NNCF leaves alone, is in bfloat16."""

import numpy as np
import pytest

from mvit_det.export.quantise import attend_in_bfloat16

openvino = pytest.importorskip("openvino", reason="openvino is not installed")
pytestmark = pytest.mark.slow


def test_attention_is_in_bfloat16_and_its_surroundings_are_not():
    from openvino import opset13

    q, k, v = (opset13.parameter([1, 2, n, 8], openvino.Type.f32) for n in (5, 7, 7))
    out = opset13.scaled_dot_product_attention(q, k, v)
    model = openvino.Model([opset13.result(opset13.abs(out))], [q, k, v], "attention")
    inputs = [
        np.random.default_rng(i).standard_normal((1, 2, n, 8)) for i, n in enumerate((5, 7, 7))
    ]
    inputs = [x.astype(np.float32) for x in inputs]
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    expected = openvino.compile_model(model, "CPU", config)(inputs)[0].copy()
    attend_in_bfloat16(model)
    types = {node.get_type_name(): node.get_output_element_type(0) for node in model.get_ops()}
    assert types["ScaledDotProductAttention"] == openvino.Type.bf16
    assert types["Abs"] == openvino.Type.f32
    found = openvino.compile_model(model, "CPU", config)(inputs)[0]
    assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
