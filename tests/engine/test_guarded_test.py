"""What breaks in an evaluation during training is logged, and the training goes on."""

import json
import logging

import forked
import pytest
import torch
import toy
import toy_processes
from detectron2.config import LazyCall as L
from torch.utils.data import DataLoader

from mvit_det.engine.guarded_test import judge_test
from mvit_det.errors import UserError
from mvit_det.evaluation import UnreadableImages


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr("mvit_det.engine.hooks.draw_curves", lambda *_: [])


def identity(samples):
    return samples


def mapped_loader(dataset, mapper, num_workers=0):
    samples = _Mapped(dataset, mapper)
    return DataLoader(samples, batch_size=2, collate_fn=identity, num_workers=num_workers)


class _Mapped(torch.utils.data.Dataset):
    def __init__(self, items, mapper):
        self.items, self.mapper = items, mapper

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.mapper(self.items[index])


def items() -> list[dict]:
    return [dict(index=i, file_name=f"{i}.jpg", image_id=70 + i) for i in range(4)]


class Breaks:
    """A mapper that raises an error after ``good`` samples."""

    good = 99

    def __call__(self, item):
        Breaks.good -= 1
        if Breaks.good < 0:
            raise KeyError("no key")
        return dict(item, x=torch.ones(toy.WIDTH))


def config(folder, **train):
    cfg = toy.config(folder, eval_period=2, max_iter=6, **train)
    cfg.dataloader.test = L(mapped_loader)(dataset=L(items)(), mapper=L(Breaks)())
    return cfg


def marked(folder) -> list[int]:
    return [at for at, row in sorted(toy.logged(folder).items()) if row.get("partial")]


def test_row_29_an_error_of_a_mapper_does_not_end_the_training(tmp_path, caplog):
    """The second of three evaluations meets it; the weights are those of a run without it."""
    toy.train(toy.config(tmp_path / "whole", max_iter=6))
    Breaks.good, toy.Score.scores = 7, [30.0]  # the first sample is also mapped at start
    sentence = (
        r"weights are saved, but the evaluation at iteration 3, 6 is incomplete \(2.jpg "
        r"\(image_id 72\) cannot be prepared.*KeyError"
    )
    with pytest.raises(UserError, match=sentence), caplog.at_level(logging.ERROR):
        toy.train(config(tmp_path / "run"))
    Breaks.good = 99
    assert "at iteration 3 is incomplete: 2.jpg (image_id 72)" in caplog.text
    assert toy.equal(toy.weights(tmp_path / "whole"), toy.weights(tmp_path / "run"))
    assert marked(tmp_path / "run") == [3, 6]
    assert torch.load(tmp_path / "run" / "model_best.pth", weights_only=True)["value"] == 30.0


@pytest.mark.parametrize("place", ["model", "process", "evaluate"])
def test_a_program_error_names_the_batch_or_the_evaluator(place, tmp_path, monkeypatch, caplog):
    original = toy.Toy.forward

    def fail(self, *given):
        if place != "model" or not self.training:
            raise IndexError("3 is too large")
        return original(self, *given)

    monkeypatch.setattr(toy.Toy if place == "model" else toy.Score, place, fail, raising=False)
    if place == "model":
        monkeypatch.setattr(toy.Toy, "forward", fail)
    with pytest.raises(UserError, match="iteration 1, 3, 6 is incomplete"):
        toy.train(config(tmp_path))
    where = "in Score" if place == "evaluate" else "the images 0.jpg (image_id 70), 1.jpg (image_"
    assert f"IndexError: 3 is too large ({where}" in caplog.text
    assert not (tmp_path / "model_best.pth").exists()


class Unreadable(UnreadableImages):
    def evaluate(self) -> dict:
        return {"unreadable": {"images": 1}} if toy.Score.scores == [20.0] else {}


def test_row_29_an_evaluation_that_lacks_images_is_not_the_best(tmp_path):
    cfg = config(tmp_path)
    cfg.dataloader.evaluator.append(L(Unreadable)())
    toy.Score.scores = [30.0, 90.0, 20.0]  # the second lacks an image
    with pytest.raises(UserError, match=r"iteration 3 is incomplete \(unreadable images: 1\)"):
        toy.train(cfg)
    assert marked(tmp_path) == [3] and toy.logged(tmp_path)[3]["toy/score"] == 90.0
    assert torch.load(tmp_path / "model_best.pth", weights_only=True)["value"] == 30.0


def broken_dataset():
    raise UserError("The test data are broken: correct them.")


@pytest.mark.parametrize("key", ["test.dataset", "test.mapper", "evaluator.0"])
def test_test_data_are_judged_before_training(key, tmp_path, monkeypatch):
    monkeypatch.setattr(toy.Toy, "forward", lambda *_: pytest.fail("an iteration has begun"))
    cfg = config(tmp_path)
    node = cfg.dataloader
    *path, last = key.split(".")
    for part in path:
        node = node[part]
    node[int(last) if last.isdigit() else last] = L(broken_dataset)()
    with pytest.raises(UserError, match="The test data are broken"):
        toy.train(cfg)


class Fails(Breaks):
    """A mapper that says of some samples that they cannot be read, or fails on all."""

    def __init__(self, unreadable=(), error=None):
        self.unreadable, self.error = unreadable, error

    def __call__(self, item):
        torch.rand(3)
        if self.error:
            raise ValueError(self.error)
        bad = item["index"] in self.unreadable
        return dict(item, x=torch.ones(toy.WIDTH), **({"unreadable": "cut"} if bad else {}))


@pytest.mark.parametrize("mapper, sentence", [
    (dict(error="wrong mode"), "0.jpg .* cannot be prepared .*ValueError: wrong mode.*test.mapper"),
    (dict(unreadable=[0, 2, 3]), r"None of 3 test samples .*0.jpg \(image_id 70\): cut, .*mapper"),
    (dict(unreadable=[0, 1, 2]), ""),  # the last is good
])  # fmt: skip
def test_the_test_mapper_is_tried_before_training(mapper, sentence, tmp_path):
    cfg = config(tmp_path / "run")
    cfg.dataloader.test.mapper = L(Fails)(**mapper)
    if sentence:
        with pytest.raises(UserError, match=sentence):
            toy.train(cfg)
        assert not (tmp_path / "run" / "metrics.json").exists()
    else:  # what the mapper draws does not change the training
        toy.train(cfg)
        toy.train(toy.config(tmp_path / "whole", max_iter=6))
        assert toy.equal(toy.weights(tmp_path / "whole"), toy.weights(tmp_path / "run"))


def test_no_sample_of_an_empty_test_set_is_mapped(tmp_path):
    cfg = config(tmp_path)
    cfg.dataloader.test.update(dataset=L(list)(), mapper=L(Fails)(error="called"))
    judge_test(cfg, lambda dataset: None)


def test_a_fault_in_one_process_does_not_hold_up_the_other(tmp_path):
    done = forked.run(toy_processes.launch, "test", str(tmp_path), output=tmp_path / "printed")
    assert done.returncode == 1
    error = "error: The training is complete and its weights are saved, but the evaluation at "
    assert done.stderr.count(error) == 1 and "The value 42 is wrong" in done.stderr
    assert json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])["iteration"] == 10
