"""``LazyCall`` describes a call; ``LazyConfig`` loads, changes and saves files of such calls."""

import dataclasses
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from detectron2.config import yaml_format
from detectron2.config.names import dotted_path
from detectron2.config.python_file import as_config, run_file
from detectron2.utils.file_io import PathManager

__all__ = ["LazyCall", "LazyConfig"]

_Keys = str | tuple[str, ...] | None


class LazyCall:
    """Describe a call instead of making it: ``LazyCall(nn.Linear)(in_features=3, ...)``.

    The result is a config with the arguments and ``_target_``; ``instantiate`` makes the call.

    Args:
        target: a callable, or its dotted path.
    """

    def __init__(self, target: Callable | str):
        if not (callable(target) or isinstance(target, str)):
            raise TypeError(f"LazyCall takes a class, a function or its path, not {target!r}.")
        self._target = target

    def __call__(self, **kwargs: Any) -> DictConfig:
        # omegaconf would take the class for a schema of its own.
        schema = dataclasses.is_dataclass(self._target)
        kwargs["_target_"] = dotted_path(self._target) if schema else self._target
        return DictConfig(kwargs, flags={"allow_objects": True})


class LazyConfig:
    """Config files: Python or YAML in, YAML out."""

    @staticmethod
    def load(filename: str, keys: _Keys = None) -> Any:
        """Load a ``.py`` or ``.yaml`` config file.

        Args:
            filename: a Python file may import from other config files relatively.
            keys: return only the value of this name, or a tuple of values. By default, a config of
                all global dicts and configs whose names don't begin with an underscore.
        """
        kind = os.path.splitext(filename)[1]
        if kind == ".py":
            content = run_file(filename)
        elif kind in (".yaml", ".yml"):
            with PathManager.open(filename, "r") as file:
                plain = yaml_format.parse(file)
            content = OmegaConf.create(
                {} if plain is None else plain, flags={"allow_objects": True}
            )
        else:
            raise ValueError(f"The config file {filename!r} must end in .py or .yaml.")
        if isinstance(keys, str):
            return as_config(content[keys])
        if keys:
            return tuple(as_config(content[key]) for key in keys)
        if kind == ".py":
            kinds = (dict, DictConfig, ListConfig)
            shown = ((k, v) for k, v in content.items() if k[0] != "_" and isinstance(v, kinds))
            return as_config({name: as_config(value) for name, value in shown})
        return content

    @staticmethod
    def load_rel(filename: str, keys: _Keys = None) -> Any:
        """Like ``load``, for a path that is relative to the file of the caller."""
        caller = sys._getframe(1).f_code.co_filename
        if not os.path.isfile(caller):
            raise ValueError(f"load_rel({filename!r}) has to be called from a file.")
        return LazyConfig.load(os.path.join(os.path.dirname(caller), filename), keys)

    @staticmethod
    def save(cfg: DictConfig, filename: str) -> None:
        """Write a config as YAML that ``load`` reads; callables become names.

        What has no name that leads to it, such as a lambda, makes a file that only people can
        read; a warning says so.
        """
        text = yaml_format.dump(_name_targets(OmegaConf.to_container(cfg, resolve=False)))
        with PathManager.open(filename, "w") as file:
            file.write(text)
        try:
            LazyConfig.load(filename)
        except ValueError as error:
            logging.getLogger(__name__).warning(f"The saved config cannot be loaded again: {error}")

    @staticmethod
    def apply_overrides(cfg: DictConfig, overrides: list[str]) -> DictConfig:
        """Change ``cfg`` in place and return it.

        Args:
            overrides: in hydra's grammar: ``key.sub=value``, ``key.0=value`` within a list,
                ``+key=value`` (the same here: new keys are welcome), ``~key`` to delete.
        """
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.is_sweep_override():
                raise ValueError(f"{override.input_line!r} asks for a sweep: give one value.")
            key = override.key_or_group
            if override.is_delete():
                _delete(cfg, key)
                continue
            for dot in (i for i, char in enumerate(key) if char == "."):
                inner = OmegaConf.select(cfg, key[:dot])
                if not (inner is None or OmegaConf.is_config(inner)):
                    raise KeyError(f"Cannot set {key!r}: {key[:dot]} is {inner!r} and has no keys.")
            OmegaConf.update(cfg, key, override.value(), merge=True)
        return cfg


def _delete(cfg: DictConfig, key: str) -> None:
    outer, _, name = key.rpartition(".")
    parent = OmegaConf.select(cfg, outer) if outer else cfg
    index = int(name) if isinstance(parent, ListConfig) and name.isdigit() else name
    try:
        del parent[index]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise KeyError(f"Cannot delete {key!r}: the config has no such key.") from error


def _name_targets(value: Any) -> Any:
    """Replace each ``_target_`` by its path, for saved configs that people can read and edit."""
    if isinstance(value, dict):
        named = {key: _name_targets(inner) for key, inner in value.items()}
        if callable(named.get("_target_")):
            named["_target_"] = dotted_path(named["_target_"])
        return named
    return [_name_targets(inner) for inner in value] if isinstance(value, list) else value
