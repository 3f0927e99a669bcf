"""Continue an interrupted evaluation with the remaining samples.

The evaluators know which samples are done. One that writes its results to disk as they come has a
method ``keep(items, test, resume)``: given the dataset and the description of the test, it returns
the indices of the remaining samples. Other evaluators then see only those samples, which they must
allow by ``needs_all = False``.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvit_det.engine.guarded_test import assemble_loader, with_named_mapper

logger = logging.getLogger(__name__)

# config keys that change the time or memory of a test, but not its result
_IRRELEVANT = ("batch_size", "num_workers", "max_views", "use_act_checkpoint", "fused_attention")


class ResumableEvaluation:
    """Build the loader and evaluators of ``cfg.dataloader`` for a test that can be resumed.

    Args:
        cfg: has ``dataloader.test``, ``dataloader.evaluator`` and ``model``.

    Attributes:
        evaluators: list, built from ``cfg.dataloader.evaluator``.
        keeps: whether the test can be resumed: an evaluator keeps its results on disk, and the
            others do not need all samples.
    """

    def __init__(self, cfg: DictConfig):
        self._cfg = cfg
        # first, since it registers its class names in Detectron2's catalog
        self._parts = dict(cfg.dataloader.test)
        if "dataset" in self._parts:
            self._parts["dataset"] = instantiate(self._parts["dataset"])
        self._parts = with_named_mapper(self._parts)
        evaluators = instantiate(cfg.dataloader.evaluator)
        alone = isinstance(evaluators, DatasetEvaluator)
        self.evaluators = [evaluators] if alone else list(evaluators)
        self._keepers = [each for each in self.evaluators if hasattr(each, "keep")]
        self._others = [
            type(each).__name__
            for each in self.evaluators
            if each not in self._keepers and getattr(each, "needs_all", True)
        ]
        self.keeps = bool(self._keepers) and not self._others

    def loader(self, model: nn.Module, resume: bool) -> Any:
        """Build the loader of the remaining samples of this process.

        Args:
            model: with its weights, which identify the test.
            resume: whether to continue an unfinished test.

        Raises:
            UserError: the disk holds another test, or an unfinished one and ``resume`` is not set.
        """
        if not self.keeps:
            if resume:
                names = ", ".join(self._others) or "no evaluator"
                logger.warning("Starting a new test: with %s a test cannot be resumed.", names)
            return assemble_loader(self._parts)
        test = description(self._cfg, model)
        items = self._parts["dataset"]
        remaining = set().union(*(each.keep(items, test, resume) for each in self._keepers))
        share = np.array_split(sorted(remaining), comm.get_world_size())[comm.get_rank()]
        indices = share.astype(int).tolist()
        # Detectron2 cannot build a loader without samples
        return assemble_loader({**self._parts, "sampler": indices}) if indices else []

    def progress(self) -> str:
        """Describe how much is done and how to continue, for the message of an interrupted test."""
        done = [text for each in self._keepers if (text := each.progress())] if self.keeps else []
        if not done:
            return "no results of the test are kept; start it again"
        return f"{', '.join(done)}; continue with --eval-only --resume"


def description(cfg: DictConfig, model: nn.Module) -> dict[str, str]:
    """Describe a test by name -> value: digest of the weights, and config of model and data."""
    nodes = {"model": cfg.model, "dataloader.test": cfg.dataloader.test}
    values = {"weights": _digest(model)}
    precision = OmegaConf.select(cfg, "train.eval_precision") or "fp32"
    if precision != "fp32":  # which tests before this key had
        values["train.eval_precision"] = precision
    for name, node in nodes.items():
        values |= dict(_leaves(OmegaConf.to_container(node, resolve=True), name))
    return values


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _leaves(node: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, JSON) for each leaf of a config; the text is the same in every run."""
    if isinstance(node, list) and any(isinstance(value, (dict, list)) for value in node):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in _IRRELEVANT:
                yield from _leaves(value, f"{name}.{key}")
    elif name.endswith("._target_"):
        # a saved config.yaml has the full name as a string
        yield name, node.rsplit(".", 1)[-1] if isinstance(node, str) else _qualified_name(node)
    else:
        yield name, json.dumps(node, default=_qualified_name)


def _qualified_name(thing: Any) -> str:
    """Return the name of a class or function, or of an object's class: its repr has an address.

    The module is omitted: the name of a config file's module differs in every run.
    """
    return (thing if hasattr(thing, "__qualname__") else type(thing)).__qualname__
