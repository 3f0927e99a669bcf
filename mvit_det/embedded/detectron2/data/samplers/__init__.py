"""Samplers: the indices of each process, and their order."""

from .distributed_sampler import InferenceSampler, TrainingSampler
