"""Save, restore and seed the random number generators of Python, NumPy and PyTorch together."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch


def get_state(cuda: bool = True) -> dict[str, Any]:
    """Return the state of all generators, in types that ``torch.load(weights_only=True)`` accepts.

    Args:
        cuda: include the generators of all GPUs, which takes longer.

    Returns:
        States by the keys "python", "numpy", "torch", and "cuda": a list with one state per GPU;
        on a Mac also "mps".
    """
    name, keys, position, has_gauss, cached = cast(tuple, np.random.get_state())
    mps = cuda and torch.backends.mps.is_available()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda and torch.cuda.is_available() else [],
        **({"mps": torch.mps.get_rng_state()} if mps else {}),
    }


def set_state(state: dict[str, Any]) -> None:
    """Restore a state of `get_state`; those of GPUs only if their number is the saved one."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    # counting GPUs opens the driver's library, each time
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def preserved() -> Iterator[None]:
    """Restore all generators after the block, so that its draws do not affect later ones."""
    state = get_state()
    try:
        yield
    finally:
        set_state(state)


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Seed all CPU generators for the block, and restore their states after it.

    Args:
        *seed: one or several integers, at least 0, which together form the seed.
    """
    state = get_state(cuda=False)
    python, numpy_, torch_ = np.random.SeedSequence(seed).generate_state(3)
    random.seed(int(python))
    np.random.seed(numpy_)
    torch.default_generator.manual_seed(int(torch_))  # torch.manual_seed would seed GPUs too
    try:
        yield
    finally:
        set_state(state)
