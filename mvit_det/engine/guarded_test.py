"""Evaluate during training: a fault is logged with its file, and never ends the training."""

import logging
from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from detectron2.config import instantiate
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import DataLoader

from mvit_det.engine.frozen import time_limit
from mvit_det.engine.launch import user_message
from mvit_det.engine.trainer import WatchedLoader, sample_name
from mvit_det.errors import UserError, shorten_list
from mvit_det.workers import Settings, end_with_process

logger = logging.getLogger(__name__)

Results = dict[str, dict[str, float]]


def guarded_test(cfg: DictConfig, model: nn.Module) -> tuple[Results, list[str]]:
    """Evaluate as `mvit_det.engine.do_test` does, but log faults instead of raising them.

    Returns:
        The metrics of all evaluators without a fault, on the main process; and the faults of all
        processes, on each of them.
    """
    training, guard = model.training, _Guard()
    loader = TestLoader([], time_limit(cfg))
    results: Results = {}
    try:
        loader.loader = build_test_loader(cfg)
        evaluators = instantiate(cfg.dataloader.evaluator)
        single = isinstance(evaluators, DatasetEvaluator)
        guard.evaluators = [evaluators] if single else list(evaluators)
        results = inference_on_dataset(model, loader, guard)
    except _Unfinished:
        pass
    except Exception as error:
        guard.agree(error, loader.describe() if loader.names else "")
    finally:
        model.train(training)  # which Detectron2 does only if there was no exception
    if results and comm.is_main_process():
        print_csv_format(results)
    return results or {}, guard.faults


def build_test_loader(cfg: DictConfig) -> Any:
    """Build ``cfg.dataloader.test``; what its mapper raises names the file and the id."""
    return assemble_loader(_test_parts(cfg, lambda dataset: None))


def assemble_loader(parts: dict[str, Any]) -> Any:
    """Build a test loader from its parts, with workers that end with this process."""
    loader = instantiate(parts)
    return end_with_process(loader) if isinstance(loader, DataLoader) else loader


def judge_test(cfg: DictConfig, judge: Callable[[Any], None]) -> None:
    """Build all that an evaluation needs and map a sample, before faults cost a training.

    ``judge`` is called with the test dataset before the rest is built.

    Raises:
        UserError: a part cannot be built, or the mapper works on none of the samples tried.
    """
    parts = _test_parts(cfg, judge)
    _try_mapper(parts)
    instantiate(parts)
    instantiate(cfg.dataloader.evaluator)


def _test_parts(cfg: DictConfig, judge: Callable[[Any], None]) -> dict[str, Any]:
    """Return the arguments of the test loader, with dataset and mapper built."""
    parts = dict(cfg.dataloader.test)
    if "dataset" in parts:  # first, since it may register class names that the mapper needs
        parts["dataset"] = instantiate(parts["dataset"])
        judge(parts["dataset"])
    return with_named_mapper(parts)


def _try_mapper(parts: dict[str, Any]) -> None:
    """Map the first sample; if its file cannot be read, also one in the middle and the last."""
    dataset: Any = parts.get("dataset")
    mapper = parts.get("mapper")
    size = len(dataset) if hasattr(dataset, "__len__") else 0
    if mapper is None or not size:
        return
    faults = {}
    for index in sorted({0, size // 2, size - 1}):
        item = dataset[index]
        sample = mapper(deepcopy(item))  # as loaders do, since a mapper may change it
        fault = sample.get("unreadable") if isinstance(sample, dict) else None
        if not fault:
            return
        faults[sample_name(item)] = fault
    listed = shorten_list(f"{name}: {fault}" for name, fault in faults.items())
    raise UserError(
        f"None of {len(faults)} test samples can be prepared for the model ({listed}): correct "
        "dataloader.test.mapper, or the files."
    )


def with_named_mapper(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a test loader with a mapper whose errors name the file and the id."""
    if parts.get("mapper") is None:
        return parts
    return {**parts, "mapper": _NamedMapper(instantiate(parts["mapper"]))}


@dataclass
class _NamedMapper:
    """Raise the errors of a mapper with the name of the sample."""

    mapper: Callable[[Any], Any]
    settings: Settings = field(default_factory=Settings)

    def __call__(self, item: Any) -> Any:
        try:
            return self.mapper(item)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{sample_name(item)} cannot be prepared for the model "
                f"({type(error).__name__}: {error}): correct the file, or "
                "dataloader.test.mapper."
            ) from error


class TestLoader(WatchedLoader):
    """A test loader that knows the names of the batch that the model has now."""

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]  # a test loader has a length

    def __iter__(self) -> Generator[Any, None, None]:
        for batch in super().__iter__():
            yield batch
            self.forget()


class _Unfinished(Exception):
    """Another process cannot finish its samples."""


class _Guard(DatasetEvaluator):
    """Run evaluators one by one; no process waits for one in which there was a fault.

    Attributes:
        evaluators: set this before `reset`.
        faults: sentences, the same in all processes.
    """

    def __init__(self) -> None:
        self.evaluators: list[DatasetEvaluator] = []
        self.faults: list[str] = []

    def reset(self) -> None:
        for each in self.evaluators:
            each.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        for each in self.evaluators:
            each.process(inputs, outputs)

    def evaluate(self) -> Results:
        self.agree()
        if self.faults:
            raise _Unfinished
        results: Results = {}
        for each in self.evaluators:
            fault = None
            try:
                new = each.evaluate() or {}
                twice = results.keys() & new.keys()
                assert not twice, f"two evaluators return results for {shorten_list(twice)}"
                results |= new if comm.is_main_process() else {}
            except Exception as error:
                fault = error
            self.agree(fault, f"in {type(each).__name__}")
        return results

    def agree(self, error: Exception | None = None, where: str = "") -> None:
        """Log the error of this process, and collect those of all; all must call it together."""
        sentence = ""
        if error is not None:
            known = user_message(error)
            sentence = known or f"{type(error).__name__}: {str(error).strip()}"
            if where and not known:
                sentence += f" ({where})"
            if not known:
                logger.error("The evaluation failed: %s", sentence, exc_info=error)
        self.faults += filter(None, comm.all_gather(sentence))
