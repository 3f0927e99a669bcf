"""Random number generators of Python, NumPy and PyTorch, saved, restored and seeded together."""

import io
import random

import numpy as np
import torch

from mvit_det import randomness


def draw() -> tuple:
    return random.random(), random.gauss(0, 1), np.random.randn(), torch.randn(3).tolist()


def test_a_state_saved_to_a_file_repeats_the_draws():
    np.random.randn()  # NumPy draws pairs, and caches the second number
    state = randomness.get_state()
    expected = draw()
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    randomness.set_state(torch.load(file, weights_only=True))
    assert draw() == expected


def test_preserved_undoes_the_draws_of_the_block():
    state = randomness.get_state()
    expected = draw()
    randomness.set_state(state)
    with randomness.preserved():
        draw()
    assert draw() == expected


def test_seeded_repeats_and_restores():
    state = randomness.get_state()
    expected = draw()
    randomness.set_state(state)
    drawn = []
    for seed in ((1, 2), (1, 2), (1, 3), (2, 1)):
        with randomness.seeded(*seed):
            drawn.append(draw())
    assert drawn[0] == drawn[1] and len(set(map(str, drawn))) == 3
    assert draw() == expected
