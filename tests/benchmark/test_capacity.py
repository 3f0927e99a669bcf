"""The largest batch for a GPU's memory: its bytes against those of a whole training."""

import pytest
import torch
from benchmark_models import DETECTOR, RECOGNIZER, run
from detectron2.config import LazyConfig, instantiate
from detectron2.utils.events import EventStorage

from mvit_det.benchmark import capacity, subjects
from mvit_det.benchmark.timing import peak_memory
from mvit_det.errors import UserError
from mvit_det.tasks import task_of

CPU = torch.device("cpu")
OPTIMIZER = """
from detectron2.config import LazyCall
import torch

optimizer = LazyCall(torch.optim.AdamW)(params=None, lr=1e-4)
"""


def load(tmp_path, text):
    path = tmp_path / "counted.py"
    path.write_text(text)
    return LazyConfig.load(str(path))


@pytest.mark.parametrize(("text", "size"), [(DETECTOR, (96, 128)), (RECOGNIZER, None)])
@pytest.mark.parametrize("batch", [1, 3])
def test_modelled_bytes_are_those_of_a_training(tmp_path, text, size, batch):
    cfg = load(tmp_path, text + OPTIMIZER)
    torch.manual_seed(0)  # the number of proposals is random
    counted = capacity.count_bytes(cfg, batch, size, CPU)

    def train():
        model = subjects.build_module(cfg, "model", fused=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
        _, inputs = subjects.make_inputs(model, task_of(cfg), counted["input"], CPU)
        for each in inputs if task_of(cfg).two_stages else ():
            each["instances"] = each["instances"][torch.arange(8).repeat(capacity.OBJECTS)]
        for _ in range(2):
            sum(model.train()(inputs).values()).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)  # as between parts of an accumulated batch

    torch.manual_seed(0)
    with EventStorage():
        measured = peak_memory(train, CPU)
    modelled = counted["states"] + batch * counted["activations"]
    assert 0.95 < modelled / measured < 1.1


def test_states_follow_optimizer_and_moving_average(tmp_path):
    cfg = load(tmp_path, RECOGNIZER + OPTIMIZER)
    model = instantiate(cfg.model)
    weights = 4 * sum(weight.numel() for weight in model.parameters())
    buffers = 4 * sum(buffer.numel() for buffer in model.buffers())
    assert capacity.state_bytes(cfg, model) == 4 * weights + buffers
    cfg.optimizer = {"_target_": "torch.optim.SGD", "params": None, "lr": 0.1, "momentum": 0.9}
    assert capacity.state_bytes(cfg, model) == 3 * weights + buffers
    cfg.train = {"ema": {"enabled": True}}
    assert capacity.state_bytes(cfg, model) == 4 * weights + 2 * buffers


def test_capacity_by_hand(tmp_path, capsys):
    counted = {"input": [1, 3, 100, 200], "states": 1.7e9, "activations": 1e9}
    # (4 - 1) x 0.9 - 1.7 = 1 GB; (8 - 1) x 0.9 - 1.7 = 4.6 GB for 4 images, 92,000 pixels
    rows = [capacity.capacity(counted, memory) for memory in (2, 8)]
    assert (rows[0]["batch"], rows[0]["side"]) == (0, 0)
    assert (rows[1]["batch"], rows[1]["side"]) == (4, 288)
    assert rows[1]["megapixels"] == pytest.approx(0.092)
    report = run(tmp_path, DETECTOR, "--size", "64", "64", "--memory", "2", "16")
    assert [row["gigabytes"] for row in report["capacity"]] == [2, 16]
    assert "batch of 64 x 64" in capsys.readouterr().out
    with pytest.raises(UserError, match="--memory takes numbers above 0"):
        run(tmp_path, DETECTOR, "--memory", "0")
