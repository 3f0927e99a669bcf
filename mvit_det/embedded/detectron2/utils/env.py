"""Seeds of all random number generators that training uses."""

import logging
import random
import secrets

import numpy as np
import torch


def seed_all_rng(seed: int | None = None) -> None:
    """Seed Python, numpy and torch (all devices); without a seed, draw one and log it."""
    if seed is None:
        seed = secrets.randbits(31)
        logging.getLogger(__name__).info(f"No seed is set: using {seed}.")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
