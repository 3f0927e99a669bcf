"""Devices: which are accepted, and what a GPU of a Mac, which no test has, would meet."""

import logging
import subprocess
import sys

import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from omegaconf import OmegaConf
from shipped_configs import shipped_config
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mvit_det import randomness
from mvit_det.engine import apply_overrides, build_model, open_device
from mvit_det.engine import train as training
from mvit_det.engine.guarded_test import build_test_loader
from mvit_det.engine.trainer import Trainer, WatchedLoader
from mvit_det.errors import UserError


@pytest.fixture
def a_mac(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *_, device: None)


def test_mps_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="^train.device=mps cannot be used here: choose from cpu"):
        open_device("mps", "train.device=")


@pytest.mark.parametrize("value, said", [("1", "runs on the CPU"), ("0", "fails (set PYTORCH_")])
def test_mps_is_accepted_with_what_it_cannot_do(a_mac, monkeypatch, caplog, value, said):
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", value)
    with caplog.at_level(logging.INFO):
        assert open_device("mps", "train.device=") == torch.device("mps")
    (line,) = caplog.messages
    assert "one process and in float32" in line and said in line
    with pytest.raises(UserError, match="gpu cannot be used here: choose from cpu.*, mps[.]$"):
        open_device("gpu", "")


def test_mps_trains_in_float32_and_one_process(monkeypatch, caplog):
    cfg = OmegaConf.create({"train": {"device": "mps", "amp": {"enabled": True}, "ddp": {}}})
    with caplog.at_level(logging.INFO):
        assert training._precision(cfg) is None
    assert "training in float32 on mps" in caplog.text
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    with pytest.raises(UserError, match="mps trains in one process: use --num-gpus 1"):
        training._distributed(cfg, torch.nn.Linear(1, 1))


def test_checkpoints_have_the_random_state_of_mps(a_mac, monkeypatch):
    restored = []
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: torch.tensor([7]))
    monkeypatch.setattr(torch.mps, "set_rng_state", restored.append)
    randomness.set_state(randomness.get_state())
    assert restored == [torch.tensor([7])]


def test_the_fallback_is_chosen_before_torch_is_imported():
    program = (
        "import os, sys; sys.platform = 'darwin'; import mvit_det; "
        "print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "1 False\n", done.stderr


class NoFloat64(TorchDispatchMode):
    """Refuses tensors of float64, as MPS does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, result)):
            # torch's batch norm makes an empty one if no box is left
            filled = isinstance(value, torch.Tensor) and value.numel()
            assert not filled or value.dtype is not torch.float64, function
        return result


@pytest.mark.parametrize("name", ["", "_cascade", "_classification", "_video", "_actions"])
def test_no_model_computes_in_float64(name, datasets_folder):
    sizes = ("num_train=10", "num_val=10")
    parts = [f"dataloader.{part}" for part in ("train", "test")]
    overrides = [f"{part}.dataset.{size}" for part in parts for size in sizes]
    overrides += [f"{part}.num_workers=0" for part in parts]
    overrides += ["dataloader.train.total_batch_size=2", "dataloader.test.batch_size=1"]
    cfg = apply_overrides(shipped_config(f"quickstart{name}"), overrides)
    torch.manual_seed(0)
    batch = next(iter(training.train_loader(cfg, 1)))
    test_batch = next(iter(build_test_loader(cfg)))
    model = cfg.optimizer.params.model = build_model(cfg, "cpu")
    optimizer = training.build_part(cfg, "optimizer")
    trainer = Trainer(model.train(), WatchedLoader([batch]), optimizer, max_norm=1.0)
    trainer.iter = 0
    with NoFloat64(), EventStorage(0):
        trainer.run_step()
        with torch.no_grad():
            model.eval()(test_batch)
