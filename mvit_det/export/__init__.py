"""Trained models as files that run where no PyTorch is: ``python -m mvit_det.export --help``."""
