"""The words for precisions, and what computes in them."""

import pytest
import torch
from torch import nn

from mvit_det import precision
from mvit_det.errors import UserError
from mvit_det.precision import InPrecision, open_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "word, device, sentence",
    [
        ("half", "cuda", "^--precision half is unknown: choose from fp32, bf16, fp16.$"),
        ("fp16", "cpu", "^--precision fp16 needs CUDA, and the device is cpu: use bf16 or fp32.$"),
        ("bf16", "mps", "^--precision bf16 needs a CPU or CUDA, and the device is mps: use fp32.$"),
    ],
)
def test_what_cannot_be_used_ends_in_a_sentence(word, device, sentence):
    with pytest.raises(UserError, match=sentence):
        open_precision(word, torch.device(device), "--precision ")


@pytest.mark.parametrize("fast", [True, False])
def test_one_line_of_the_log_tells_that_bfloat16_is_slow(fast, monkeypatch, caplog):
    caplog.set_level("INFO", logger="mvit_det")
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: fast)
    assert open_precision("bf16", CPU, "") is torch.bfloat16
    assert open_precision("fp32", CPU, "") is torch.float32
    assert ["slower than float32" in line for line in caplog.messages] == ([] if fast else [True])


def test_the_model_alone_computes_in_it_and_keeps_its_weights_and_mode():
    model = nn.Linear(3, 2).eval()
    given = torch.ones(1, 3)
    for dtype in (torch.float32, torch.bfloat16):
        wrapped = InPrecision(model, dtype)
        assert not wrapped.training and wrapped(given).dtype is dtype
        assert model(given).dtype is model.weight.dtype is torch.float32
