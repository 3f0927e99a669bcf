"""Make the calls that a config describes."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from detectron2.utils.registry import locate


def instantiate(cfg: Any) -> Any:
    """Call ``cfg._target_`` with the other entries of ``cfg`` as keyword arguments.

    Arguments that describe calls are built first, also inside lists. Any other ``cfg``, for example
    a mapping without ``_target_``, is returned unchanged.

    Raises:
        TypeError: the target is not callable, or does not take these arguments.
        ImportError: no object has the dotted path ``_target_``.
    """
    if isinstance(cfg, ListConfig):
        # Keep it a ListConfig: some consumers distinguish it from a list, as with Detectron2.
        return ListConfig([instantiate(item) for item in cfg], flags={"allow_objects": True})
    if isinstance(cfg, list):
        return [instantiate(item) for item in cfg]
    if isinstance(cfg, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(cfg)):
        return OmegaConf.to_object(cfg)  # omegaconf has wrapped an object, such as a ShapeSpec
    if not (isinstance(cfg, Mapping) and "_target_" in cfg):
        return cfg

    arguments = {name: instantiate(value) for name, value in cfg.items() if name != "_target_"}
    target = cfg["_target_"]
    if isinstance(target, str):
        target = locate(target)
    if not callable(target):
        raise TypeError(f"_target_={target!r} is not callable: name a class or function.")
    try:
        return target(**arguments)
    except TypeError:
        # Most often a wrong argument name. Logged, because the error itself may name neither.
        logging.getLogger(__name__).error(f"Cannot build {target} from ({', '.join(arguments)}).")
        raise
