"""Schedules and parameter groups."""

import pytest
import torch
from detectron2.solver import LRMultiplier, WarmupParamScheduler, get_default_optimizer_params
from fvcore.common.param_scheduler import CosineParamScheduler, MultiStepParamScheduler
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.LayerNorm(4)
        self.pos_embed = nn.Parameter(torch.zeros(3))
        self.tied = self.conv
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def _named(model: nn.Module, groups: list[dict]) -> list[dict]:
    names = {id(p): name for name, p in model.named_parameters()}
    return [{**group, "params": {names[id(p)] for p in group["params"]}} for group in groups]


def test_one_group_for_equal_options() -> None:
    model = Net()
    (group,) = get_default_optimizer_params(model, base_lr=1.0)
    assert group["lr"] == 1.0 and len(group["params"]) == 5
    assert list(get_default_optimizer_params(model)[0]) == ["params"]


def test_norms_and_overrides_have_separate_groups() -> None:
    model = Net()
    groups = get_default_optimizer_params(
        model,
        base_lr=1.0,
        weight_decay=0.1,
        weight_decay_norm=0.0,
        overrides={"pos_embed": {"weight_decay": 0.0}},
    )
    assert sorted(_named(model, groups), key=lambda g: g["weight_decay"]) == [
        {"lr": 1.0, "weight_decay": 0.0, "params": {"norm.weight", "norm.bias", "pos_embed"}},
        {"lr": 1.0, "weight_decay": 0.1, "params": {"conv.weight", "conv.bias"}},
    ]


def test_rates_of_layers_and_biases() -> None:
    model = Net()
    groups = get_default_optimizer_params(
        model,
        base_lr=1.0,
        bias_lr_factor=2.0,
        lr_factor_func=lambda name: 0.5 if name.startswith("conv") else 1.0,
        overrides={"pos_embed": {"lr": 3.0}},
    )
    rates = {name: group["lr"] for group in _named(model, groups) for name in group["params"]}
    assert rates == {
        "conv.weight": 0.5,
        "conv.bias": 2.0,
        "norm.weight": 1.0,
        "norm.bias": 2.0,
        "pos_embed": 3.0,
    }


def test_contradictory_options_are_refused() -> None:
    with pytest.raises(ValueError, match="base_lr"):
        get_default_optimizer_params(Net(), bias_lr_factor=2.0)
    with pytest.raises(ValueError, match="base_lr"):
        get_default_optimizer_params(Net(), lr_factor_func=lambda name: 1.0)
    with pytest.raises(ValueError, match="bias"):
        get_default_optimizer_params(
            Net(), weight_decay_bias=0.0, overrides={"bias": {"weight_decay": 1.0}}
        )


def _steps() -> MultiStepParamScheduler:
    return MultiStepParamScheduler([1.0, 0.1, 0.01], milestones=[60, 80], num_updates=100)


def test_warmup_then_schedule() -> None:
    schedule = WarmupParamScheduler(_steps(), warmup_factor=0.001, warmup_length=0.1)
    assert schedule(0.0) == pytest.approx(0.001)
    assert schedule(0.05) == pytest.approx((0.001 + 1) / 2)
    assert [schedule(t) for t in (0.1, 0.59, 0.6, 0.8)] == [1.0, 1.0, 0.1, 0.01]
    # The end of a warm-up equals the cosine.
    cosine = CosineParamScheduler(1.0, 0.0)
    assert WarmupParamScheduler(cosine, 0.1, 0.5)(0.4999) == pytest.approx(0.5, abs=1e-3)


def _optimizer() -> torch.optim.SGD:
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    return torch.optim.SGD([{"params": [a], "lr": 1.0}, {"params": [b], "lr": 0.5}], lr=1.0)


def test_multiplier_keeps_the_ratio_of_groups_and_resumes() -> None:
    optimizer = _optimizer()
    schedule = LRMultiplier(optimizer, _steps(), max_iter=10)
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert [a for a, _ in rates] == pytest.approx([1.0] * 6 + [0.1] * 2 + [0.01] * 2)
    assert all(b == a / 2 for a, b in rates)
    assert schedule.state_dict() == {"base_lrs": [1.0, 0.5], "last_epoch": 10}

    resumed = LRMultiplier(_optimizer(), _steps(), max_iter=10)
    resumed.load_state_dict({"base_lrs": [1.0, 0.5], "last_epoch": 6})
    resumed.optimizer.step()
    resumed.step()
    assert resumed.get_last_lr() == pytest.approx([0.1, 0.05])


def test_multiplier_needs_a_param_scheduler() -> None:
    with pytest.raises(ValueError, match="ParamScheduler"):
        LRMultiplier(_optimizer(), lambda t: 1.0, max_iter=10)
