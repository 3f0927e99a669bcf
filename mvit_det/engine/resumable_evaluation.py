"""A test that was interrupted goes on with what it has not done.

What is done is the evaluators' knowledge. One that keeps its results on disk as they come has
``keep(items, test, resume)``: it is told the data set and what the test is, and gives the places in
the data set that are left. Others see the rest alone, which they must agree to (``needs_all``).
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

logger = logging.getLogger(__name__)

# keys of a config that change the time or the memory of a test, but not what it is
_NO_MATTER = ("batch_size", "num_workers", "max_views", "use_act_checkpoint", "fused_attention")


class ResumableEvaluation:
    """``cfg.dataloader.test`` and its evaluators.

    Attributes:
        evaluators: built from ``cfg.dataloader.evaluator``.
        keeps: whether an evaluator keeps on disk what is done.
    """

    def __init__(self, cfg: DictConfig):
        self._cfg = cfg
        # first, as it enters the names of its classes into Detectron2's catalog
        self._parts = dict(cfg.dataloader.test)
        if "dataset" in self._parts:
            self._parts["dataset"] = instantiate(self._parts["dataset"])
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
        """What is left for this process, of the test of a model with its weights.

        Raises:
            UserError: the disk holds another test, or an unfinished one and ``resume`` is not set.
        """
        if not self.keeps:
            if resume:
                names = ", ".join(self._others) or "no evaluator"
                logger.warning("Starting anew: with %s a test cannot go on.", names)
            return instantiate(self._parts)
        test = description(self._cfg, model)
        items = self._parts["dataset"]
        left = set().union(*(each.keep(items, test, resume) for each in self._keepers))
        share = np.array_split(sorted(left), comm.get_world_size())[comm.get_rank()]
        mine = share.astype(int).tolist()
        # a loader of nothing, which Detectron2 does not build
        return instantiate({**self._parts, "sampler": mine}) if mine else []

    def progress(self) -> str:
        """What is done, and how to go on, in words."""
        done = [text for each in self._keepers if (text := each.progress())] if self.keeps else []
        if not done:
            return "nothing of the test is kept; start it again"
        return f"{', '.join(done)}; go on with --eval-only --resume"


def description(cfg: DictConfig, model: nn.Module) -> dict[str, str]:
    """What makes a test the same one: weights, model and data protocol, by name."""
    nodes = {"model": cfg.model, "dataloader.test": cfg.dataloader.test}
    found = {"weights": _digest(model)}
    for name, node in nodes.items():
        found |= dict(_flat(OmegaConf.to_container(node, resolve=True), name))
    return found


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _flat(node: Any, name: str) -> Iterator[tuple[str, str]]:
    """The leaves of a config by dotted key, as text that is the same in every run."""
    if isinstance(node, list) and any(isinstance(value, (dict, list)) for value in node):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in _NO_MATTER:
                yield from _flat(value, f"{name}.{key}")
    elif name.endswith("._target_"):
        # a config.yaml has the full name
        yield name, node.rsplit(".", 1)[-1] if isinstance(node, str) else _named(node)
    else:
        yield name, json.dumps(node, default=_named)


def _named(thing: Any) -> str:
    """Of a class or function its name; of another object, whose text may hold an address, its kind.

    Without the module, which for what a config file defines has another name each time.
    """
    return (thing if hasattr(thing, "__qualname__") else type(thing)).__qualname__
