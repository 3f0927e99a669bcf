"""Linear layers by oneDNN, and attention in chunks, against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mvit_det.kernels import chunked_attention, products
from mvit_det.kernels.chunked_attention import attend
from mvit_det.kernels.products import linear


@pytest.fixture(autouse=True)
def slow_linear_layers(monkeypatch):
    """Take the same paths on every processor."""
    monkeypatch.setattr(products, "has_slow_linear_layers", lambda: True)
    monkeypatch.setattr(chunked_attention, "has_slow_linear_layers", lambda: True)
    monkeypatch.setattr(chunked_attention, "has_fast_bfloat16", lambda: True)


class Operators(TorchDispatchMode):
    """Record the names of all operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tokens", [(64,), (2, 9, 11), (7001,)], ids=str)
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_layer_and_gradients(tokens, wide, bias):
    sizes = (24, 40) if wide else (40, 24)
    given = [random(*tokens, sizes[0]), random(sizes[1], sizes[0], seed=1)]
    given += [random(sizes[1], seed=2)] if bias else []
    results = []
    for function, dtype in ((linear, torch.float32), (F.linear, torch.float64)):
        inputs = [each.to(dtype).requires_grad_() for each in given]
        with Operators() as seen:
            out = function(*inputs)
            grads = torch.autograd.grad(out, inputs, random(*out.shape, seed=3).to(dtype))
        assert ("convolution" in seen.names) == (function is linear)
        results.append([out, *grads])
    for ours, exact in zip(*results):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=2e-4)


def test_gradients_of_a_linear_layer_are_differentiable():
    second = []
    for function in (linear, F.linear):
        x, weight = random(80, 24).requires_grad_(), random(40, 24, seed=1).requires_grad_()
        grads = torch.autograd.grad(
            function(x, weight).pow(2).sum(), (x, weight), create_graph=True
        )
        total = sum(grad.pow(2).sum() for grad in grads)
        second.append(torch.autograd.grad(total, (x, weight)))
    for ours, plain in zip(*second):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-3 * plain.abs().max().item())


@pytest.mark.parametrize("how", ["few tokens", "autocast", "another processor", "compiled"])
def test_where_torch_is_used(how, monkeypatch):
    x, weight = random(8 if how == "few tokens" else 80, 24), random(40, 24, seed=1)
    if how == "another processor":
        monkeypatch.setattr(products, "has_slow_linear_layers", lambda: False)
    if how == "compiled":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with Operators() as seen, torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        linear(x, weight)
    assert "convolution" not in seen.names


# (groups, heads, queries, keys), width of queries and keys, width of values
SHAPES = {
    "small windows": ((30, 4, 49, 49), 30, 16),
    "large windows": ((3, 2, 784, 196), 30, 16),
    "rows of one head": ((1, 3, 2001, 400), 30, 16),
    "one query": ((2, 3, 1, 300), 16, 16),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_attention_and_gradients(name, dtype):
    (groups, heads, rows, keys), width, values = SHAPES[name]
    given = [
        # heads after tokens in memory, as partitions lay them out
        random(groups, tokens, heads, channels, seed=seed).to(dtype).transpose(1, 2)
        for seed, (tokens, channels) in enumerate([(rows, width), (keys, width), (keys, values)])
    ]
    given[1] = given[1] * width**-0.5
    inputs = [each.requires_grad_() for each in given]
    out = attend(*inputs)
    assert out.dtype == dtype and out.transpose(1, 2).is_contiguous()
    grad = random(*out.shape, seed=9).to(dtype)
    ours = [out, *torch.autograd.grad(out, inputs, grad)]
    exact = [each.detach().double().requires_grad_() for each in given]
    plain = (exact[0] @ exact[1].transpose(-2, -1)).softmax(-1) @ exact[2]
    for one, other in zip(ours, [plain, *torch.autograd.grad(plain, exact, grad.double())]):
        scale = other.abs().max().item()
        tolerance = 1e-6 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(one.double(), other, rtol=0, atol=tolerance * max(scale, 1))


def test_gradients_of_attention_are_differentiable():
    second = []
    for attention in (attend, lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(-1) @ v):
        inputs = [random(2, 2, 20, 8, seed=seed).requires_grad_() for seed in range(3)]
        grads = torch.autograd.grad(attention(*inputs).pow(2).sum(), inputs, create_graph=True)
        second.append(torch.autograd.grad(sum(grad.pow(2).sum() for grad in grads), inputs))
    for ours, plain in zip(*second):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)
