"""The experiment ``capacity``: bytes of a training step, counted on tensors without data."""

import pytest
from benchmark_models import CLIPS, DETECTOR, RECOGNIZER
from detectron2.config import LazyConfig
from rows import capacity


@pytest.mark.parametrize("recompute", capacity.MODES)
@pytest.mark.parametrize(
    "text, shape, precision",
    [
        (RECOGNIZER, (4, 3, 32, 64), "bf16"),
        (CLIPS, (2, 3, 4, 32, 32), "fp32"),
        (DETECTOR, (1, 3, 64, 64), "fp32"),
    ],
)
def test_tensors_without_data_count_as_real_ones(tmp_path, text, shape, precision, recompute):
    path = tmp_path / "config.py"
    path.write_text(text)

    def count(device):
        cfg = LazyConfig.load(str(path))
        return capacity.count(cfg, recompute, precision, shape, device)

    (peak, *fixed), real = count("meta"), count("cpu")
    assert list(real[1:]) == pytest.approx(
        fixed, rel=0.01
    )  # (buffers that a host keeps on the CPU)
    # widths of attention that a GPU pads differ slightly from a CPU's
    assert peak == pytest.approx(real[0], rel=0.03)


def test_the_largest_size_lies_on_the_line_through_the_counts():
    peaks = [(1000, 700, 100), (1800, 700, 100)]
    assert capacity.largest((2, 4), peaks, 2300) == 5
    assert capacity.largest((2, 4), peaks, 790) == 0  # the optimizer's step does not fit
