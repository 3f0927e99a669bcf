"""Exchange weights between our classifiers and those of other code bases, in files."""

import torch

from mvit_det.checkpoint import fit, read_weights
from mvit_det.checkpoint.converting import translate, write_weights


def load(model, path, form):
    """Load a file into a model of ours, check that every tensor is used, and return its weights."""
    weights = read_weights(path)
    assert weights.format == form and not weights.left_out
    fitted = fit(weights, model.state_dict())
    assert fitted.report.complete and not fitted.report.resized and not fitted.report.dropped
    model.load_state_dict(fitted.state)
    return weights


def convert(model, form, path):
    """Save a model of ours, read that file and write it in another format."""
    ours = path.with_name("ours.pth")
    torch.save({"model": model.state_dict()}, ours)
    tensors, _, left_out = translate(read_weights(ours), form)
    assert not left_out
    write_weights(tensors, form, path)


def largest_difference(got, expected):
    """Return the largest difference, relative to the largest expected value."""
    return ((got - expected).abs().max() / expected.abs().max()).item()
