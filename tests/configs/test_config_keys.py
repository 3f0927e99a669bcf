"""docs/reference/config_keys.md: every key is there, exists, and has the default that it states."""

import inspect
import json
import re
from functools import partial
from pathlib import Path

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from shipped_configs import shipped_config

from mvit_det.engine.config import check_key

ROOT = Path(__file__).resolve().parents[2]
KEYS = ROOT / "docs/reference/config_keys.md"
FIRST = partial(re.sub, r"\.\d+\.", ".0.")  # the first entry of a list for all of them


def tables() -> list[tuple[str, list[list[str]]]]:
    """The config that each table of the keys is of, and its rows: key, default, meaning."""
    parts = re.split(r"^Defaults of \[(.+?)\]", KEYS.read_text(), flags=re.MULTILINE)[1:]
    rows = [re.findall(r"^\| `(\S+?)` \| (.+?) \| (.+) \|$", part, re.M) for part in parts[1::2]]
    return list(zip(parts[::2], rows, strict=True))


def as_written(value) -> str:
    """A default as it is typed on a command line."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_written, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value) or '""'


def value_at(cfg: DictConfig, key: str):
    """The value of a key as the config has it, or the default of the argument of that name."""
    node = cfg
    *parents, name = key.split(".")
    for part in parents:
        node = node._get_node(int(part) if isinstance(node, ListConfig) else part)
    if name in node:
        value = node._get_node(name)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value._value()
    return next(defaults[name] for defaults in arguments(node._target_) if name in defaults)


def arguments(target) -> list[dict]:
    """Arguments of a class and its bases, or of a function, with their defaults."""
    target = get_object(target) if isinstance(target, str) else target
    makers = [target]
    if inspect.isclass(target):
        makers = [vars(kind).get("__init__") for kind in inspect.getmro(target)]
    makers = [maker for maker in makers if inspect.isfunction(maker)]
    return [
        {name: one.default for name, one in inspect.signature(maker).parameters.items()}
        for maker in makers
    ]


def leaves(node, prefix: str = ""):
    """All keys of a config that hold a value, and unset arguments of this package's functions."""
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
        target = node.get("_target_")
        target = get_object(target) if isinstance(target, str) else target
        if target is not None and target.__module__.startswith("mvit_det"):
            for known in arguments(target)[:1]:
                # the run sets the model of an optimizer
                unset = known.keys() - node.keys() - {"self", "arguments", "options", "model"}
                yield from (f"{prefix}{name}" for name in unset)
        for name in node.keys() - {"_target_"}:
            yield from leaves(node._get_node(name), f"{prefix}{name}.")
    elif isinstance(node, ListConfig) and any(map(OmegaConf.is_config, node._iter_ex(False))):
        for index, child in enumerate(node._iter_ex(False)):
            yield from leaves(child, f"{prefix}{index}.")
    else:
        yield prefix.rstrip(".")


def test_config_keys_exist_with_their_defaults():
    for config, rows in tables():
        cfg = shipped_config(ROOT / config)
        assert rows
        for key, default, _ in rows:
            if re.fullmatch("`[^`]+`", default):
                assert default.strip("`") == as_written(value_at(cfg, key)), f"{config}: {key}"
        for key, *_ in rows:
            check_key(cfg, key)


def listed_keys() -> set[str]:
    return {FIRST(key) for _, rows in tables() for key, *_ in rows}


def listed_as(key: str) -> set[str]:
    """What stands for a key: what is above it, the first of a list, training for testing."""
    key = FIRST(key)
    trained = re.sub(r"^dataloader\.test(\.dataset(?=\.dataset))?\.", "dataloader.train.", key)
    parts = [one.split(".") for one in (key, trained)]
    return {".".join(one[:count]) for one in parts for count in range(1, len(one) + 1)}


def test_all_config_keys_are_listed():
    listed = listed_keys()
    for config, _ in tables():
        cfg = shipped_config(ROOT / config)
        assert set(cfg) <= {key.partition(".")[0] for key in listed}, config
        found = set(leaves(cfg))
        assert not [key for key in sorted(found) if not listed_as(key) & listed], config


def test_keys_in_the_text_exist():
    """What guides call `train.key` or `model.key` is in the list of keys."""
    listed = listed_keys()
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "datasets/README.md"]
    for page in set(pages) - {KEYS}:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        files = r"(?!bin|csv|json|onnx|pt2|py|xml)"
        for key in re.findall(
            rf"[`' ]((?:train|model|dataloader|optimizer)\.{files}[\w.]+)[=`]", text
        ):
            above = any(one.startswith(f"{key}.") for one in listed)
            assert above or listed_as(key) & listed, f"{page}: {key}"
