"""What a model costs: parameters, FLOPs, time and memory. Run ``python -m mvit_det.benchmark``."""
