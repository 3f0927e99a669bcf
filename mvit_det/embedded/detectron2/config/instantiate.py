"""Make the calls that a config describes."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from detectron2.config.names import dotted_path
from detectron2.utils.registry import locate

__all__ = ["instantiate"]


def instantiate(cfg: Any) -> Any:
    """Call ``cfg._target_`` with the other entries of ``cfg`` as keyword arguments.

    Arguments that are such descriptions themselves are built first, also inside lists. A mapping
    without ``_target_``, and any other value, is returned as it is. Interpolations are resolved.

    Args:
        cfg: what ``LazyCall`` returns, a mapping with a ``_target_`` (callable or dotted path),
            a list of such, or any value.

    Raises:
        TypeError: ``_target_`` is nothing that can be called.
    """
    if isinstance(cfg, ListConfig):
        # Stays a ListConfig: some consumers tell it from a list, as they do under Detectron2.
        return ListConfig([instantiate(item) for item in cfg], flags={"allow_objects": True})
    if isinstance(cfg, list):
        return [instantiate(item) for item in cfg]
    if isinstance(cfg, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(cfg)):
        # A dataclass object that was put into a config, where omegaconf turns it into a mapping.
        return OmegaConf.to_object(cfg)
    if not (isinstance(cfg, Mapping) and "_target_" in cfg):
        return cfg

    arguments = {name: instantiate(value) for name, value in cfg.items() if name != "_target_"}
    target = cfg["_target_"]
    if isinstance(target, str):
        target = locate(target)
    if not callable(target):
        raise TypeError(f"_target_={cfg['_target_']!r} cannot be called: name a class or function.")
    try:
        return target(**arguments)
    except TypeError:
        # Most often a wrong argument name. Logged, because the error itself may name neither.
        names = ", ".join(arguments)
        logging.getLogger(__name__).error(f"Cannot build {dotted_path(target)} from ({names}).")
        raise
