"""Checks that read every file of a data set, for ``python -m mvit_det.check``."""
