"""One iteration: accumulation and clipping of gradients, and how divergence ends."""

from types import SimpleNamespace

import pytest
import torch
import toy
from detectron2.utils.events import EventStorage
from torch import nn

from mvit_det.engine import train
from mvit_det.engine.trainer import MAX_NAMES, Trainer, WatchedLoader
from mvit_det.errors import UserError


def batches(count: int, size: int) -> list[list[dict]]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(count * size, toy.WIDTH, generator=generator)
    named = [dict(x=row, file_name=f"{i}.jpg") for i, row in enumerate(rows)]
    return [named[i : i + size] for i in range(0, count * size, size)]


def trained(data: list, accumulation: int = 1, steps: int = 3) -> tuple[torch.nn.Module, dict]:
    torch.manual_seed(0)
    model = toy.Toy(dropout=0.0, norm=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    trainer = Trainer(model, WatchedLoader(data), optimizer, accumulation=accumulation)
    with EventStorage() as trainer.storage:
        for trainer.iter in range(steps):
            trainer.storage.iter = trainer.iter
            trainer.run_step()
        return model, {name: value for name, (value, _) in trainer.storage.latest().items()}


def test_parts_of_a_batch_give_the_step_of_the_whole():
    whole, whole_losses = trained(batches(3, 8))
    parts, parts_losses = trained(batches(12, 2), accumulation=4)
    for expected, found in zip(whole.parameters(), parts.parameters()):
        torch.testing.assert_close(found, expected)
    for name in ("total_loss", "loss_square", "loss_abs"):
        assert parts_losses[name] == pytest.approx(whole_losses[name], rel=1e-5)


class Classifier(nn.Module):
    """Cross-entropy of a linear layer on a batch that is one dict of stacked tensors."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(toy.WIDTH, 3)

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        return {"loss_cls": nn.functional.cross_entropy(self.head(batch["x"]), batch["labels"])}


def stacked(count: int, size: int) -> list[dict]:
    """Batches of inputs with soft labels, as mixup gives them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count * size, toy.WIDTH, generator=generator)
    labels = torch.rand(count * size, 3, generator=generator).softmax(1)
    names = [f"{i}.jpg" for i in range(count * size)]
    parts = zip(x.split(size), labels.split(size), range(0, count * size, size))
    return [dict(x=a, labels=b, file_name=names[i : i + size]) for a, b, i in parts]


def stepped(data: list, rate: float = 1.0, **options) -> tuple[nn.Module, float]:
    """A classifier after one step of plain gradient descent, and the norm that was reported."""
    torch.manual_seed(0)
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    trainer = Trainer(model, WatchedLoader(data), optimizer, **options)
    with EventStorage() as storage:
        trainer.run_step()
        return model, storage.latest()["grad_norm"][0]


def test_two_parts_of_a_dict_batch_give_the_step_of_the_whole():
    whole, norm = stepped(stacked(1, 8), max_norm=0.1)
    parts, again = stepped(stacked(2, 4), max_norm=0.1, accumulation=2)
    assert norm == pytest.approx(again) and norm > 0.1
    for expected, found in zip(whole.parameters(), parts.parameters()):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("share", [0.25, 4.0, None])
def test_gradients_are_scaled_down_to_the_norm_and_never_up(share):
    start, _ = stepped(stacked(1, 8), rate=0.0)
    plain, norm = stepped(stacked(1, 8))
    moves = [(a - b).detach() for a, b in zip(plain.parameters(), start.parameters())]
    assert norm == pytest.approx(float(torch.cat([m.flatten() for m in moves]).norm()))
    clipped, reported = stepped(stacked(1, 8), max_norm=share and share * norm)
    assert reported == norm
    factor = min(share or 1.0, 1.0)
    for parameter, before, move in zip(clipped.parameters(), start.parameters(), moves):
        torch.testing.assert_close(parameter - before, factor * move, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), "much"])
def test_a_limit_that_is_not_positive_is_refused(limit):
    with pytest.raises(UserError, match=f"clip_gradients={limit!r} of train .or null"):
        stepped(stacked(1, 8), max_norm=limit)


def test_divergence_names_the_images_of_dict_batches():
    data = stacked(2, 40)
    data[1]["x"][0, 0] = float("inf")
    with pytest.raises(UserError, match="loss_cls=nan, on the images 0.jpg, 1.jpg, ") as error:
        stepped(data, accumulation=2)
    assert f"{MAX_NAMES - 1}.jpg and {80 - MAX_NAMES} more; lower" in str(error.value)


def test_the_state_of_other_parameter_groups_is_refused():
    def trainer(split: bool) -> Trainer:
        model = Classifier()
        weight, bias = model.parameters()
        groups = [dict(params=[weight]), dict(params=[bias])] if split else model.parameters()
        return Trainer(model, WatchedLoader([]), torch.optim.SGD(groups, lr=0.1))

    state = trainer(split=True).state_dict()
    trainer(split=True).load_state_dict(state)
    with pytest.raises(
        UserError, match="optimizer does not fit .*resume with the optimizer.params"
    ):
        trainer(split=False).load_state_dict(state)


def test_gradients_of_earlier_iterations_do_not_add_up():
    once, _ = trained(batches(1, 4), steps=1)
    again, _ = trained(batches(2, 4), steps=2)
    gradient = once.layers[0].weight.grad
    assert not torch.allclose(gradient, again.layers[0].weight.grad)
    assert again.layers[0].weight.grad.norm() < 3 * gradient.norm()


@pytest.mark.parametrize("place, words", [("x", "loss_square=inf"), ("grad", "gradient is not")])
def test_row_14_divergence_names_the_images_and_keeps_the_weights(place, words):
    data = batches(4, 2)
    if place == "x":
        data[3][1]["x"].fill_(1e30)
    torch.manual_seed(0)
    model = toy.Toy(dropout=0.0, norm=False)
    if place == "grad":  # a finite loss with a gradient that is not
        model.layers[0].weight.register_hook(lambda gradient: gradient * float("nan"))
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0 if place == "x" else 0.1)
    trainer = Trainer(model, WatchedLoader(data), optimizer, accumulation=2)
    with EventStorage(), pytest.raises(UserError) as error:
        for trainer.iter in range(2):
            trainer.run_step()
    iteration, images = (1, "4.jpg, 5.jpg, 6.jpg, 7.jpg")
    if place == "grad":
        iteration, images = (0, "0.jpg, 1.jpg, 2.jpg, 3.jpg")
    assert f"diverged at iteration {iteration}: " in str(error.value)
    assert words in str(error.value) and f"the images {images};" in str(error.value)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="mixed precision needs a GPU")
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_mixed_precision_trains(precision):
    data = [[dict(x=item["x"].cuda()) for item in batch] for batch in batches(6, 8)]
    model = toy.Toy(dropout=0.0, norm=False).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    trainer = Trainer(model, WatchedLoader(data), optimizer, precision=precision)
    with EventStorage() as storage:
        for trainer.iter in range(6):
            trainer.run_step()
        losses = [value for value, _ in storage.history("total_loss").values()]
    assert losses[-1] < losses[0]
    assert ("grad_scaler" in trainer.state_dict()) == (precision is torch.float16)


def test_results_of_an_evaluation_replace_those_of_the_last(monkeypatch):
    found = iter([{"task": {"a": 1}, "unreadable": {"images": 2}}, {"task": {"a": 3}}])
    monkeypatch.setattr(train, "guarded_test", lambda *_: (next(found), []))
    results = {}
    checkpoints = SimpleNamespace(stop=SimpleNamespace(interruptible=False))
    test = train._tester({}, nn.Identity(), checkpoints, results)
    assert test() == ({"task": {"a": 1}, "unreadable": {"images": 2}}, [])
    assert test()[0] == results == {"task": {"a": 3}}
