"""Find what is wrong with data, config and machine: ``python -m mvit_det.check``."""
