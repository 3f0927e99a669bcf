"""The random number generators of Python, numpy and torch as one."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def get_state(cuda: bool = True) -> dict[str, Any]:
    """State of all generators of this process, in types that ``torch.load(weights_only=True)`` takes.

    Args:
        cuda: with the generators of all GPUs, which takes a while.
    """
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda and torch.cuda.is_available() else [],
    }


def set_state(state: dict[str, Any]) -> None:
    """Continue as the generators would have when `get_state` was called."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count() > 0:
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def preserved() -> Iterator[None]:
    """What the block draws does not change what is drawn after it."""
    state = get_state()
    try:
        yield
    finally:
        set_state(state)


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Within the block all generators of the CPU start from ``seed``; afterwards they go on as before."""
    state = get_state(cuda=False)
    python, numpy_, torch_ = np.random.SeedSequence(seed).generate_state(3)
    random.seed(int(python))
    np.random.seed(numpy_)
    torch.default_generator.manual_seed(int(torch_))  # torch.manual_seed would seed GPUs too
    try:
        yield
    finally:
        set_state(state)
