"""Which images a process sees, in which order."""

from .distributed_sampler import InferenceSampler, TrainingSampler
