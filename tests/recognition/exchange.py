"""Weights on their way between our classifiers and other people's, in files as users have them."""

import torch

from mvit_det.checkpoint import fit, read_weights
from mvit_det.checkpoint.converting import translate, write_weights


def load(model, path, form):
    """Read a file, fit it to a model of ours and load it, with nothing left over; returns it."""
    weights = read_weights(path)
    assert weights.format == form and not weights.left_out
    fitted = fit(weights, model.state_dict())
    assert fitted.report.complete and not fitted.report.resized and not fitted.report.dropped
    model.load_state_dict(fitted.state)
    return weights


def convert(model, form, path):
    """Save a model of ours, read that file and write it in another format."""
    own = path.with_name("ours.pth")
    torch.save({"model": model.state_dict()}, own)
    tensors, _, left_out = translate(read_weights(own), form)
    assert not left_out
    write_weights(tensors, form, path)


def largest_difference(got, expected):
    """Relative to the largest value."""
    return ((got - expected).abs().max() / expected.abs().max()).item()
