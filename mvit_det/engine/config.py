"""Read a config and apply ``key=value`` overrides, refusing what Detectron2 silently accepts."""

import difflib
import inspect
import os
import traceback
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from numbers import Number
from typing import Any

from detectron2.config import LazyConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mvit_det.config_names import find_config
from mvit_det.engine.config_values import check_sections, check_values, is_faulty
from mvit_det.engine.yaml_config import read_yaml_config
from mvit_det.errors import UserError, brief, excerpt, shorten_list


def load_config(path: str, allow_targets: Sequence[str] = ()) -> DictConfig:
    """Load a LazyConfig from a .py file, a saved .yaml, or by the name of a shipped config.

    A .py file is executed, as any Python file is; a .yaml file is only read.

    Args:
        path: the file or name.
        allow_targets: packages or modules whose classes and functions a .yaml may name besides
            those of `mvit_det.engine.yaml_config.PACKAGES`.

    Raises:
        UserError: ``path`` is empty, the config does not exist, a .py fails, or a .yaml cannot be
            read or names an object that it may not.
    """
    if not path:
        raise UserError("No config was given: use --config-file quickstart to start.")
    file = find_config(path)
    is_python = file.endswith(".py")
    cfg = _run_config(file) if is_python else read_yaml_config(file, allow_targets)
    check_sections(cfg)
    return cfg


def _run_config(file: str) -> DictConfig:
    """Execute a Python config; the message of a fault has its file and line."""
    try:
        return LazyConfig.load(file)
    except UserError:
        raise
    except Exception as error:
        # The real Detectron2 wraps a syntax error in one that has the file, but not the line.
        fault = error.__cause__ if isinstance(error.__cause__, SyntaxError) else error
        frames = traceback.extract_tb(error.__traceback__)
        lines = [(frame.filename, frame.lineno) for frame in frames if frame.name == "<module>"]
        name, line = lines[-1] if lines else (file, None)  # of this config or one that it imports
        if isinstance(fault, SyntaxError):
            wrapped = str(error).removeprefix("Config file ").removesuffix(" has syntax error!")
            name, line = wrapped if fault is not error else fault.filename or file, fault.lineno
        where = file if not os.path.isfile(name) else name
        raise UserError(
            f"Config {where}, line {line}, cannot be run: "
            f"{type(fault).__name__}: {' '.join(str(fault.args[0] if fault.args else '').split())}."
        ) from error


def add_config_flags(parser: ArgumentParser) -> None:
    """Add the flags of every command that takes a config."""
    parser.add_argument(
        "--allow-target",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="also build classes and functions of this package or module if a .yaml config names "
        "them, such as those of custom code; may be repeated",
    )


def corrections(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return those of the overrides that replace a value which is not allowed for its key."""
    pairs = zip(overrides, _parse(overrides))
    return [text for text, override in pairs if is_faulty(cfg, override.key_or_group)]


def _parse(overrides: Sequence[str]) -> list[Override]:
    for text in overrides:
        if text.startswith("--"):
            raise UserError(f"The flag {text} must come before the key=value overrides.")
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise UserError(
            f"Override {excerpt(error.override)} cannot be read: write key=value without spaces, "
            "e.g. train.max_iter=1000."
        ) from error


def apply_overrides(cfg: DictConfig, overrides: Sequence[str], last: bool = True) -> DictConfig:
    """Apply overrides in Hydra's grammar (``key=value``, ``+key=value``).

    Args:
        cfg: a config.
        overrides: to apply.
        last: False: other changes of the config will follow, so that its values are not checked.

    Raises:
        UserError: an override cannot be parsed, is a flag or deletes a key; a key is unknown to the
            config and to the constructor it configures (the message names the nearest known
            key; a ``+`` prefix adds the key anyway); or a value has another type than the current
            one, or is not allowed for that key (`check_values`).
    """
    for override in _parse(overrides):
        if override.is_delete():
            raise UserError(
                f"Override {excerpt(override.input_line)}: a key cannot be deleted; set it to "
                "another value, e.g. key=null."
            )
        if override.is_sweep_override():
            raise UserError(
                f"Override {excerpt(override.input_line)} has several values: write a list as "
                "key=[1,2]."
            )
        if not override.is_add():
            check_key(cfg, override.key_or_group)
        _check_type(cfg, override.key_or_group, override.value())
    try:
        cfg = LazyConfig.apply_overrides(cfg, list(overrides))
    except (KeyError, IndexError, TypeError, ValueError, OmegaConfBaseException) as error:
        detail = " ".join(str(error.args[0] if error.args else error).split())
        raise UserError(
            f"The overrides {excerpt(' '.join(overrides))} cannot be applied: {excerpt(detail)}."
        ) from error
    if last:
        check_values(cfg)
    return cfg


def check_key(cfg: DictConfig, key: str) -> None:
    """Refuse an unknown ``key``; its last part may be an argument that the config leaves unset."""
    node: Any = cfg
    walked: list[str] = []
    for part in key.split("."):
        node = _child(node, walked[-1]) if walked else node
        choices = list(_children(node))
        if part not in choices:
            near = difflib.get_close_matches(part, choices, n=1, cutoff=0.0)
            dotted = ".".join(walked)
            absent = excerpt(part)
            where = f"{dotted!r} has no {absent}" if walked else f"there is no {absent}"
            hint = f"; the nearest key is {'.'.join([*walked, near[0]])!r}" if near else ""
            raise UserError(f"Override {excerpt(key)}: {where}{hint} (+KEY=VALUE adds a new key).")
        walked.append(part)


def _child(node: Any, part: str) -> Any:
    if isinstance(node, ListConfig):
        return node[int(part)]
    return node.get(part) if isinstance(node, DictConfig) else None


def _children(node: Any) -> Iterator[str]:
    """Yield the keys of a config node, then the unset arguments of its ``_target_``."""
    if isinstance(node, ListConfig):
        yield from map(str, range(len(node)))
    if not isinstance(node, DictConfig):
        return
    yield from (str(key) for key in node if key != "_target_")
    target = node.get("_target_")
    if isinstance(target, str):
        target = get_object(target)
    if target is not None:
        yield from (name for name in _arguments(target) if name not in node)


def _arguments(target: Any) -> dict[str, None]:
    """Collect the keyword names of a callable, including its bases' where it has ``**kwargs``."""
    makers = [target]
    if inspect.isclass(target):
        makers = [vars(kind)["__init__"] for kind in target.__mro__ if "__init__" in vars(kind)]
    names: dict[str, None] = {}
    for maker in makers:
        parameters = inspect.signature(maker).parameters.values()
        kinds = {p.name: p.kind for p in parameters if p.name != "self"}
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names |= dict.fromkeys(name for name, kind in kinds.items() if kind in by_name)
        if inspect.Parameter.VAR_KEYWORD not in kinds.values():
            break
    return names


def _check_type(cfg: DictConfig, key: str, value: Any) -> None:
    """Refuse a value of another type, such as a word where the config holds a number."""
    if is_faulty(cfg, key):
        return
    old = OmegaConf.select(cfg, key, default=None)
    kinds = ((bool, bool, "true or false"), (Number, Number, "a number"))
    for kind, allowed, name in (*kinds, (str, (str, list), "text or a list")):
        if isinstance(old, kind):
            if value is not None and not isinstance(value, allowed):
                given = f"{key}={shorten_list([value])}"
                raise UserError(f"Override {given} must be {name}: it is {brief(old)} now.")
            return
