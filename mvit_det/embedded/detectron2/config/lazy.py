"""``LazyCall`` describes a call; ``LazyConfig`` loads, changes and saves files of such calls."""

import dataclasses
import logging
import sys
from collections.abc import Callable
from functools import reduce
from itertools import accumulate
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from detectron2.config import yaml_format
from detectron2.config.python_file import as_config, run_file
from detectron2.utils.file_io import PathManager


class LazyCall:
    """Describe a call instead of making it: ``LazyCall(nn.Linear)(in_features=3, ...)``.

    The result is a config of the arguments and ``_target_``, which ``instantiate`` calls.

    Raises:
        TypeError: the target is not a class, a function or a dotted path.
    """

    def __init__(self, target: Callable | str):
        if not (callable(target) or isinstance(target, str)):
            raise TypeError(f"LazyCall takes a class, a function or its path, not {target!r}.")
        # omegaconf would treat a dataclass as a structured config.
        self._target = _dotted_path(target) if dataclasses.is_dataclass(target) else target

    def __call__(self, **kwargs: Any) -> DictConfig:
        """Return the config of the call with these arguments."""
        return DictConfig(dict(kwargs, _target_=self._target), flags={"allow_objects": True})


class LazyConfig:
    """Load Python and YAML configs, override their values, and save them as YAML."""

    @staticmethod
    def load(filename: str, keys: str | tuple[str, ...] | None = None) -> Any:
        """Load a ``.py`` or ``.yaml`` file: the value of one key, a tuple of several, or a config.

        By default, the config has all global dicts and configs without leading underscore.

        Raises:
            ValueError: another file type, or YAML that names something unsafe or missing.
            KeyError: a key is missing.
            ImportError: a config that the file imports does not exist.
        """
        if filename.endswith(".py"):
            content: Any = run_file(filename)
        elif filename.endswith((".yaml", ".yml")):
            with PathManager.open(filename, "rb") as file:
                plain = yaml_format.parse(file)
            content = OmegaConf.create(plain or {}, flags={"allow_objects": True})
        else:
            raise ValueError(f"The config file {filename!r} must end in .py or .yaml.")
        if isinstance(keys, str):
            return as_config(content[keys])
        if keys:
            return tuple(as_config(content[key]) for key in keys)
        if OmegaConf.is_config(content):
            return content
        kinds = (dict, DictConfig, ListConfig)
        public = {k: v for k, v in content.items() if k[0] != "_" and isinstance(v, kinds)}
        return as_config({name: as_config(value) for name, value in public.items()})

    @staticmethod
    def save(cfg: DictConfig, filename: str) -> None:
        """Write YAML that ``load`` can read; log a warning if it cannot (a lambda has no path)."""
        text = yaml_format.dump(_name_targets(OmegaConf.to_container(cfg, resolve=False)))
        with PathManager.open(filename, "w", encoding="utf-8") as file:
            file.write(text)
        try:
            yaml_format.parse(text)
        except ValueError as error:
            logging.getLogger(__name__).warning(f"{filename} cannot be loaded again: {error}")

    @staticmethod
    def apply_overrides(cfg: DictConfig, overrides: list[str]) -> DictConfig:
        """Apply overrides ``key.sub=value`` in hydra's syntax to ``cfg`` in place; keys may be new.

        Raises:
            ValueError: an override is a sweep or deletes a key.
            KeyError: an outer key is a plain value.
        """
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.is_sweep_override() or override.is_delete():
                raise ValueError(f"Override {override.input_line!r} must have the form key=value.")
            key = override.key_or_group
            for outer in accumulate(key.split(".")[:-1], "{}.{}".format):
                value = OmegaConf.select(cfg, outer)
                if not (value is None or OmegaConf.is_config(value)):
                    raise KeyError(f"Cannot set {key!r}: {outer} is {value!r} and has no keys.")
            OmegaConf.update(cfg, key, override.value(), merge=True)
        return cfg


def _dotted_path(target: Any) -> str:
    """Return the shortest importable path of a class or function: it survives file moves."""
    module, name = target.__module__, target.__qualname__
    for package in accumulate(module.split("."), "{}.{}".format):
        try:
            candidate = reduce(getattr, name.split("."), sys.modules[package])
        except (AttributeError, KeyError):
            continue
        if candidate == target:
            return f"{package}.{name}"
    return f"{module}.{name}"  # a lambda, for example, cannot be imported by path


def _name_targets(value: Any) -> Any:
    """Replace each ``_target_`` by its path, for saved configs that people can read and edit."""
    if isinstance(value, dict):
        result = {key: _name_targets(inner) for key, inner in value.items()}
        target = result.get("_target_")
        if hasattr(target, "__qualname__") and target.__module__:
            result["_target_"] = _dotted_path(target)
        return result
    return [_name_targets(inner) for inner in value] if isinstance(value, list) else value
