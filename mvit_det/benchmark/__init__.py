"""Parameters, FLOPs, time and memory of a model: ``python -m mvit_det.benchmark``."""
