"""Inputs of other sizes: position tables resized when weights are loaded, or when they are used."""

import pytest
import torch
from exchange import largest_difference
from golden.make_backbone import fill_parameters

from mvit_det.checkpoint import fit, read_weights
from mvit_det.recognition import ClassifierMViT, Recognizer


def build(size, **changes):
    backbone = ClassifierMViT(input_size=size, last_block_indexes=(0, 2, 4, 5), **changes)
    return Recognizer(backbone, num_classes=30).eval()


# Multiples of 32. At others, tables are made for the grid rounded down, while the real one is
# rounded up: what was resized at load is resized once more.
@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((384, 384), {}),
        ((512, 512), {}),
        ((160, 320), {}),
        ((384, 384), dict(class_token=True, use_abs_pos=True)),
        ((256, 192), dict(class_token=True, use_abs_pos=True)),
    ],
)
@torch.no_grad()
def test_tables_resized_at_load_equal_tables_resized_at_run_time(tmp_path, size, options):
    nominal, target = build((224, 224), **options), build(size, **options)
    generator = torch.Generator().manual_seed(0)
    fill_parameters(nominal, lambda _, shape: torch.randn(shape, generator=generator))
    torch.save({"model": nominal.state_dict()}, tmp_path / "weights.pth")
    fitted = fit(read_weights(tmp_path / "weights.pth"), target.state_dict())
    assert fitted.report.complete and fitted.report.resized
    assert all("pos" in name for name in fitted.report.resized)
    target.load_state_dict(fitted.state)
    x = torch.randn(1, 3, *size, generator=generator)
    expected = nominal.logits(x)
    assert largest_difference(target.logits(x), expected) < 1e-5
    # the comparison means something: at another size the tables say something else
    target.load_state_dict({k: v.flip(0) if "rel_pos" in k else v for k, v in fitted.state.items()})
    assert largest_difference(target.logits(x), expected) > 1e-3
