"""Both hosts have equal schedules, groups, configs and metrics, and read each other's files."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hosts import both_hosts

# Trains a small network for a few iterations and writes the files of a run; on each host.
TRAIN = """
import functools, io, logging, os
from contextlib import redirect_stdout
import mvit_det, numpy as np, torch
from torch import nn
from omegaconf import OmegaConf
from fvcore.common.param_scheduler import CosineParamScheduler, MultiStepParamScheduler
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyCall, LazyConfig, instantiate
from detectron2.engine import HookBase, hooks, default_argument_parser
from detectron2.solver import LRMultiplier, WarmupParamScheduler, get_default_optimizer_params
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, JSONWriter
from mvit_det.engine.trainer import Trainer, WatchedLoader

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.head = nn.Linear(4, 1)
        self.pos_embed = nn.Parameter(torch.randn(4))
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))] * 2)
        self.batch_norm = nn.BatchNorm1d(4)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x):
        y = self.norm(self.stem(x)).mean((2, 3)) + self.pos_embed
        for block in self.blocks:
            y = y + block(y)
        y = self.head(self.batch_norm(y))
        return {"loss_square": y.pow(2).mean(), "loss_abs": 0.1 * (y - 1).abs().mean()}

class Save(HookBase):
    def __init__(self, checkpointer):
        self.checkpointer = checkpointer

    def after_step(self):
        if self.trainer.iter in (2, 7):
            self.checkpointer.save(f"model_{self.trainer.iter}")

def batches(start):
    for i in range(start, 100):
        yield torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(i))

def trainer_from(start, folder, max_iter):
    torch.manual_seed(0)
    model = Net()
    groups = get_default_optimizer_params(
        model, base_lr=0.05, weight_decay=0.1, weight_decay_norm=0.0,
        overrides={"pos_embed": {"weight_decay": 0.0}})
    optimizer = torch.optim.AdamW(groups, lr=0.05)
    trainer = Trainer(model, WatchedLoader(batches(start)), optimizer)
    schedule = WarmupParamScheduler(
        MultiStepParamScheduler([1.0, 0.1], milestones=[4], num_updates=8), 0.1, 0.25)
    checkpointer = DetectionCheckpointer(model, folder, trainer=trainer)
    trainer.register_hooks([
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=LRMultiplier(optimizer, schedule, 8)),
        Save(checkpointer),
        hooks.PeriodicWriter(
            [JSONWriter(folder + "/metrics.json"), CommonMetricPrinter(max_iter)], 2),
    ])
    return trainer, checkpointer
"""

FIRST = (
    TRAIN
    + """
folder = f"{root}/{mvit_det.host()}"
os.makedirs(folder)
result = {}

# Parameter groups.
torch.manual_seed(0)
model = Net()
names = {id(p): name for name, p in model.named_parameters()}
paths = []
choices = {
    "plain": {},
    "rate": dict(base_lr=1.0),
    "norm": dict(weight_decay=0.1, weight_decay_norm=0.0),
    "bias": dict(base_lr=1.0, bias_lr_factor=2.0, weight_decay=0.1, weight_decay_bias=0.5),
    "layers": dict(base_lr=1.0, lr_factor_func=lambda n: paths.append(n) or len(n) / 10),
    "layers and bias": dict(
        base_lr=1.0, bias_lr_factor=3.0, lr_factor_func=lambda n: 0.5, weight_decay_norm=0.2),
    "overrides": dict(base_lr=1.0, weight_decay=0.1, weight_decay_norm=0.0, overrides={
        "pos_embed": {"weight_decay": 0.0}, "weight": {"lr": 9, "betas": 0.4},
        "bias": {"weight_decay": 7.0}}),
}
result["groups"] = {
    name: [[list(g), {k: v for k, v in g.items() if k != "params"},
            [names[id(p)] for p in g["params"]]]
           for g in get_default_optimizer_params(model, **choice)]
    for name, choice in choices.items()
}
result["paths"] = paths

# Schedules.
steps = MultiStepParamScheduler([1.0, 0.1, 0.01], milestones=[60, 80], num_updates=100)
result["schedules"] = [
    [WarmupParamScheduler(base, *arguments)(i / 200) for i in range(200)]
    for base in (steps, CosineParamScheduler(1.0, 0.0))
    for arguments in [(0.001, 0.1), (0.1, 0.25), (0.1, 0.0)]
]

# Seeds and arguments.
seed_all_rng(11)
result["seeds"] = [np.random.rand(), float(torch.rand(1)), comm.shared_random_seed()]
result["arguments"] = vars(default_argument_parser().parse_args(["--resume", "a=1"]))

# A saved config.
cfg = OmegaConf.create({
    "optimizer": LazyCall(torch.optim.AdamW)(
        params=LazyCall(get_default_optimizer_params)(base_lr="${...lr}"), lr="${.params.base_lr}"),
    "lr": 1e-5, "norm": functools.partial(nn.LayerNorm, eps=1e-6), "kind": nn.Linear,
    "betas": (0.9, 0.999), "text": "x: y", "deep": [{"a": [1, None]}]},
    flags={"allow_objects": True})
LazyConfig.apply_overrides(cfg, ["lr=2e-5", "+train.max_iter=3", "deep.0.a=[2]"])
LazyConfig.save(cfg, folder + "/config.yaml")

# A run.
trainer, _ = trainer_from(0, folder, 8)
log = io.StringIO()
handler = logging.StreamHandler(log)
logging.getLogger("detectron2.utils.events").addHandler(handler)
logging.getLogger("detectron2").setLevel(logging.INFO)
trainer.train(0, 8)
result["lines"] = log.getvalue().splitlines()
result["weights"] = {k: v.clone() for k, v in model.state_dict().items()}
result["trained"] = trainer.model.state_dict()
result["files"] = sorted(os.listdir(folder))
"""
)

SECOND = (
    TRAIN
    + """
other = {"real": "embedded", "embedded": "real"}[mvit_det.host()]
cfg = LazyConfig.load(f"{root}/{other}/config.yaml")
LazyConfig.save(cfg, f"{root}/{mvit_det.host()}/config_of_other.yaml")
trainer, checkpointer = trainer_from(3, f"{root}/{mvit_det.host()}", 8)
checkpointer.load(f"{root}/{other}/model_2.pth")
start = trainer.iter + 1
trainer.train(start, 8)
optimizer = cfg.optimizer
optimizer.params.model = model = Net()
result = {
    "partial": (cfg.norm.func is nn.LayerNorm, cfg.norm.keywords, cfg.norm(4).eps),
    "plain": {k: v for k, v in OmegaConf.to_container(cfg).items()
              if k in ("lr", "betas", "text", "deep", "train")},
    "kind": cfg.kind is nn.Linear,
    "built": [instantiate(optimizer).param_groups[0][k] for k in ("lr", "weight_decay")],
    "start": start,
    "trained": trainer.model.state_dict(),
    "losses": trainer.storage.history("total_loss").values(),
}
"""
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """Return the folder with a subfolder per host, and the results of FIRST on both hosts."""
    root = tmp_path_factory.mktemp("parity")
    return root, *both_hosts(FIRST, root=str(root))


def _rows(root: Path, host: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (root / host / "metrics.json").read_text().splitlines()]


def test_parameter_groups(runs: Any) -> None:
    _, real, ours = runs
    assert ours["groups"] == real["groups"]
    assert ours["paths"] == real["paths"]


def test_schedules(runs: Any) -> None:
    _, real, ours = runs
    for expected, values in zip(real["schedules"], ours["schedules"], strict=True):
        assert values == pytest.approx(expected, rel=1e-12)


def test_seeds_and_arguments(runs: Any) -> None:
    _, real, ours = runs
    assert ours["seeds"] == real["seeds"]
    assert ours["arguments"] == real["arguments"]


def test_training_and_its_files(runs: Any) -> None:
    _, real, ours = runs
    assert ours["files"] == real["files"]
    for name, value in real["trained"].items():
        assert torch.equal(ours["trained"][name], value), name
    assert any(not torch.equal(real["weights"][k], v) for k, v in real["trained"].items())


def test_metrics(runs: Any) -> None:
    root, _, _ = runs
    real, ours = _rows(root, "real"), _rows(root, "embedded")
    assert [list(row) for row in ours] == [list(row) for row in real]  # order of keys too
    clocks = {"time", "data_time", "rank_data_time", "eta_seconds"}
    for expected, row in zip(real, ours):
        for key in set(expected) - clocks:
            assert math.isclose(row[key], expected[key], rel_tol=1e-6), key


def test_log_lines(runs: Any) -> None:
    _, real, ours = runs

    def shape(line: str) -> list[str]:
        words = line.split(" ")
        return [w for i, w in enumerate(words) if "time:" not in words[i - 1] and ":0" not in w]

    assert [shape(line) for line in ours["lines"]] == [shape(line) for line in real["lines"]]


def test_checkpoints_have_the_same_keys(runs: Any) -> None:
    root, _, _ = runs

    def keys(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: keys(inner) for key, inner in value.items()}
        return [keys(v) for v in value] if isinstance(value, list) else type(value).__name__

    for name in ("model_2", "model_7"):
        real, ours = (torch.load(root / host / f"{name}.pth") for host in ("real", "embedded"))
        assert keys(ours) == keys(real)


def test_each_host_continues_from_files_of_the_other(runs: Any) -> None:
    """Each host loads the config and the checkpoint of the other, with equal losses."""
    root, first, _ = runs
    real, ours = both_hosts(SECOND, root=str(root))
    trained = {side: result.pop("trained") for side, result in (("real", real), ("ours", ours))}
    assert ours == real
    assert real["start"] == 3 and len(real["losses"]) == 5
    assert real["partial"] == (True, {"eps": 1e-6}, 1e-6) and real["kind"]
    assert real["built"] == [2e-5, 0.01]
    assert real["plain"] == {
        "lr": 2e-5,
        "betas": [0.9, 0.999],
        "text": "x: y",
        "deep": [{"a": [2]}],
        "train": {"max_iter": 3},
    }
    for name, value in first["trained"].items():
        assert torch.equal(trained["real"][name], value), name
        assert torch.equal(trained["ours"][name], value), name
