"""The moving average: its values, its evaluation, its files, and that it resumes exactly."""

import pytest
import torch
import toy
from toy import Killed, equal, killed_before

from mvit_det.engine.ema import AveragedWeights
from mvit_det.errors import UserError

DECAY = 0.75


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr("mvit_det.engine.hooks.draw_curves", lambda *_: [])


def config(folder, **train):
    return toy.config(folder, ema=dict(enabled=True, decay=DECAY), **train)


def checkpoint(folder, name: str) -> dict:
    return torch.load(folder / f"{name}.pth", weights_only=True)


def average(folder, name: str) -> dict[str, torch.Tensor]:
    """The average in a checkpoint, by the model's names."""
    state = checkpoint(folder, name)["trainer"]["hooks"]["AveragedWeights"]
    return {key[len("module.") :]: v for key, v in state.items() if key.startswith("module.")}


def test_the_average_is_the_sum_of_the_definition(tmp_path):
    toy.train(config(tmp_path, max_iter=5, checkpointer=dict(period=1)))
    expected = None
    for step in range(5):
        weights = toy.weights(tmp_path, f"model_{step:07d}")
        found = average(tmp_path, f"model_{step:07d}")
        if expected is None:
            expected = found  # what came before it is not in a file
            assert not equal(found, weights)
            continue
        for key, value in weights.items():
            if value.is_floating_point():  # buffers too
                expected[key] = DECAY * expected[key] + (1 - DECAY) * value
                torch.testing.assert_close(found[key], expected[key])
        assert "layers.1.running_var" in weights


def test_it_begins_with_the_weights_that_were_loaded(tmp_path):
    toy.train(toy.config(tmp_path / "first", max_iter=3))
    start = toy.weights(tmp_path / "first")
    cfg = config(tmp_path / "second", max_iter=2, checkpointer=dict(period=1))
    cfg.train.init_checkpoint = str(tmp_path / "first" / "model_final.pth")
    toy.train(cfg)
    after = toy.weights(tmp_path / "second", "model_0000000")
    found = average(tmp_path / "second", "model_0000000")
    for key in ("layers.0.weight", "layers.1.running_mean"):
        torch.testing.assert_close(found[key], DECAY * start[key] + (1 - DECAY) * after[key])


class Spy(toy.Score):
    """Keeps the outputs of the model in each evaluation."""

    outputs: list[float] = []

    def process(self, inputs, outputs):
        Spy.outputs += outputs


def test_the_average_is_evaluated_and_kept_as_the_best(tmp_path):
    Spy.outputs, Spy.scores = [], [50.0, 40.0]
    cfg = config(tmp_path, max_iter=4, eval_period=2, checkpointer=dict(period=2))
    cfg.dataloader.evaluator[0]["_target_"] = Spy
    toy.train(cfg)
    best, final = checkpoint(tmp_path, "model_best"), checkpoint(tmp_path, "averaged_final")
    assert (best["iteration"], final["iteration"]) == (1, 3)
    assert equal(best["model"], average(tmp_path, "model_0000001"))
    assert equal(final["model"], average(tmp_path, "model_final"))
    assert not equal(final["model"], toy.weights(tmp_path))
    model = toy.Toy().eval()
    for state, outputs in ((best["model"], Spy.outputs[:2]), (final["model"], Spy.outputs[2:])):
        model.load_state_dict(state)
        assert [model(batch)[0] for batch in toy.scored_batches(2)] == outputs


def test_a_resumed_run_continues_the_average(tmp_path, monkeypatch):
    toy.train(config(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        killed_before(7, patch)
        with pytest.raises(Killed):
            toy.train(config(tmp_path / "killed"))
    assert not (tmp_path / "killed" / "averaged_final.pth").exists()
    toy.train(config(tmp_path / "killed"), resume=True)
    for name in ("averaged_final", "model_final"):
        a, b = (toy.weights(tmp_path / folder, name) for folder in ("whole", "killed"))
        assert equal(a, b)
    assert equal(
        average(tmp_path / "whole", "model_final"), average(tmp_path / "killed", "model_final")
    )


def test_it_can_be_turned_on_and_off_when_a_run_resumes(tmp_path):
    toy.train(toy.config(tmp_path, max_iter=3))
    before = toy.weights(tmp_path)
    toy.train(config(tmp_path, max_iter=4), resume=True)
    after, found = toy.weights(tmp_path), average(tmp_path, "model_final")
    key = "layers.0.weight"
    torch.testing.assert_close(found[key], DECAY * before[key] + (1 - DECAY) * after[key])
    toy.train(toy.config(tmp_path, max_iter=5), resume=True)
    assert "AveragedWeights" not in checkpoint(tmp_path, "model_final")["trainer"].get("hooks", {})


def test_turned_off_it_changes_nothing(tmp_path):
    toy.train(toy.config(tmp_path / "without", ema=dict(enabled=False, decay=DECAY)))
    toy.train(config(tmp_path / "with"))
    assert equal(toy.weights(tmp_path / "without"), toy.weights(tmp_path / "with"))
    assert not (tmp_path / "without" / "averaged_final.pth").exists()


@pytest.mark.parametrize("decay", [1.0, -0.5])
def test_a_decay_out_of_range_is_refused(decay, tmp_path):
    with pytest.raises(UserError, match=f"train.ema.decay={decay} must be"):
        AveragedWeights(toy.Toy(), decay, str(tmp_path))
