"""Config files: loading, overriding, saving, instantiating; loading YAML runs no code."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import LazyCall, LazyConfig, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

import mvit_det

embedded_only = pytest.mark.skipif(mvit_det.host() == "real", reason="is about the embedded host")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a file below a temporary folder and return its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write_file


class Record:
    """Keep the arguments of the call."""

    def __init__(self, **kwargs: Any):
        self.kwargs = kwargs


# Loading Python files.


def test_each_relative_import_runs_the_file_again(write: Callable) -> None:
    write("common/optim.py", "optimizer = dict(lr=1.0, betas=(0.9, 0.999))\n")
    write("common/twice.py", "from .optim import optimizer\noptimizer.lr = 7\n")
    path = write(
        "runs/run.py",
        "from ..common.twice import optimizer as changed\n"
        "from ..common.optim import optimizer\n"
        "optimizer.weight_decay = 0.05\n",
    )
    cfg = LazyConfig.load(path)
    assert cfg.changed == {"lr": 7, "betas": [0.9, 0.999]}
    assert cfg.optimizer == {"lr": 1.0, "betas": [0.9, 0.999], "weight_decay": 0.05}


def test_absolute_imports_are_those_of_python(write: Callable) -> None:
    path = write(
        "a.py", "import math\nimport os.path as p\nfrom collections import OrderedDict\nx = {}\n"
    )
    assert list(LazyConfig.load(path)) == ["x"]
    import math

    assert LazyConfig.load(path, "math") is math


def test_load_returns_configs_or_the_values_of_keys(write: Callable) -> None:
    path = write(
        "a.py", "model = dict(a=1)\n_hidden = dict(b=2)\nnumber = 3\nnames = ['x']\ndef f(): pass\n"
    )
    assert LazyConfig.load(path) == {"model": {"a": 1}}
    assert LazyConfig.load(path, "_hidden").b == 2
    assert LazyConfig.load(path, ("number", "model")) == (3, {"a": 1})
    with pytest.raises(KeyError, match="nowhere"):
        LazyConfig.load(path, "nowhere")


@pytest.mark.parametrize(
    "line, message",
    [
        ("from . import base", "only import"),
        ("from .nothere import x", "nothere.py"),
        ("from ...up.up import x", "up.py"),
    ],
)
def test_errors_of_relative_imports_name_the_file(write: Callable, line: str, message: str) -> None:
    with pytest.raises(ImportError, match=message):
        LazyConfig.load(write("deep/er/a.py", line + "\n"))


def test_unreadable_files_are_refused(write: Callable) -> None:
    with pytest.raises(ValueError, match="a.txt"):
        LazyConfig.load(write("a.txt", ""))
    with pytest.raises(FileNotFoundError, match="nothere"):
        LazyConfig.load("nothere.py")
    with pytest.raises(SyntaxError):
        LazyConfig.load(write("b.py", "model = dict("))


@embedded_only
def test_missing_imported_name_is_an_import_error(write: Callable) -> None:
    write("base.py", "model = {}\n")
    with pytest.raises(ImportError, match="modle.*base.py"):
        LazyConfig.load(write("a.py", "from .base import modle\n"))


def test_other_modules_keep_their_imports(write: Callable) -> None:
    import builtins

    before = builtins.__import__
    LazyConfig.load(write("a.py", "import json\nx = dict(a=1)\n"))
    assert builtins.__import__ is before


# YAML.


def test_yaml_loads(write: Callable) -> None:
    path = write("a.yaml", "a: 1\nb: {c: [1, 2.5, x]}\n")
    assert LazyConfig.load(path).b.c[1] == 2.5
    assert LazyConfig.load(path, "b") == {"c": [1, 2.5, "x"]}


@embedded_only
@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:os.system ['touch {}']",
        "!!python/object/apply:subprocess.check_output [[touch, '{}']]",
        "!!python/object:os.system {{}}",
        "!!python/module:os ''",
        "!!python/object/apply:functools.partial [!!python/name:os.system '', 'touch {}']",
        "!!python/object/apply:functools.partial {{args: [!!python/name:os.system '']}}",
    ],
)
def test_yaml_runs_no_code(write: Callable, tmp_path: Path, value: str) -> None:
    proof = tmp_path / "proof"
    path = write("a.yaml", "x: 1\na: " + value.format(proof) + "\n")
    with pytest.raises(ValueError, match=r"a\.yaml, line 2"):
        LazyConfig.load(path)
    assert not proof.exists()


@embedded_only
def test_error_of_an_unknown_yaml_name_states_the_line(write: Callable) -> None:
    with pytest.raises(ValueError, match=r"a\.yaml, line 1: .*torch\.nn\.Lin"):
        LazyConfig.load(write("a.yaml", "a: !!python/name:torch.nn.Lin ''\n"))


def _full_config() -> DictConfig:
    return OmegaConf.create(
        {
            "model": LazyCall(nn.Sequential)(),
            "norm": functools.partial(nn.LayerNorm, eps=1e-6),
            "positional": functools.partial(functools.partial(nn.LayerNorm, 8), eps=1e-6),
            "kind": nn.BatchNorm2d,
            "function": nn.functional.relu,
            "builtin": len,
            "out": "${.numbers}",
            "numbers": [1, 2.5, 1e-6, None, True, "text", "1e-6", "null"],
            "tuple": (1, (2, "x")),
            "nested": {"deep": [{"a": [1]}, {}], 3: "key"},
            "unicode": "\u00e9",
        },
        flags={"allow_objects": True},
    )


def test_save_and_reload_is_equal(tmp_path: Path) -> None:
    cfg, path = _full_config(), str(tmp_path / "config.yaml")
    LazyConfig.save(cfg, path)
    again = LazyConfig.load(path)
    assert again.norm.func is nn.LayerNorm and again.norm.keywords == {"eps": 1e-6}
    assert again.positional(elementwise_affine=False).eps == 1e-6
    assert again.positional.args == (8,)
    assert again.model._target_ == "torch.nn.Sequential"
    assert isinstance(instantiate(again.model), nn.Sequential)
    for key in set(cfg) - {"norm", "positional", "model"}:
        assert again[key] == cfg[key], key
    # What was loaded is saved as the same text, so a resumed run's config.yaml does not change.
    LazyConfig.save(again, str(tmp_path / "again.yaml"))
    assert (tmp_path / "again.yaml").read_text() == Path(path).read_text()


@embedded_only
def test_save_warns_of_values_that_cannot_be_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("detectron2"), "propagate", True)
    cfg = OmegaConf.create({"f": lambda x: x, "n": 1}, flags={"allow_objects": True})
    LazyConfig.save(cfg, str(tmp_path / "a.yaml"))
    assert "cannot be loaded again" in caplog.text
    assert "n: 1" in (tmp_path / "a.yaml").read_text()


# Overrides.


@pytest.mark.parametrize(
    "override, key, value",
    [
        ("optimizer.lr=0.5", "optimizer.lr", 0.5),
        ("optimizer.lr=1e-3", "optimizer.lr", 1e-3),
        ("optimizer.lr=null", "optimizer.lr", None),
        ("optimizer.name='a b'", "optimizer.name", "a b"),
        ("optimizer.steps=[3,4]", "optimizer.steps", [3, 4]),
        ("optimizer.steps.0=9", "optimizer.steps", [9, 2]),
        ("optimizer={lr:3}", "optimizer.lr", 3),
        ("optimizer={lr:3}", "optimizer.steps", [1, 2]),
        ("+new.deep.key=True", "new.deep.key", True),
        ("++optimizer.lr=2", "optimizer.lr", 2),
        ("train.out=${optimizer.lr}", "train.out", 0.1),
        ("train.path=/a/b-c.pth?x=1", "train.path", "/a/b-c.pth?x=1"),
    ],
)
def test_override_of_one_value(override: str, key: str, value: Any) -> None:
    cfg = OmegaConf.create({"optimizer": {"lr": 0.1, "steps": [1, 2]}, "train": {}})
    if "?" in override:
        override = override.replace("/a", "'/a") + "'"  # hydra's grammar requires quotes
    assert LazyConfig.apply_overrides(cfg, [override]) is cfg
    assert OmegaConf.select(cfg, key) == value


def test_override_below_a_plain_value_is_refused() -> None:
    cfg = OmegaConf.create({"a": {"b": 1}})
    with pytest.raises(KeyError, match="a.b"):
        LazyConfig.apply_overrides(cfg, ["a.b.c=1"])


@embedded_only
@pytest.mark.parametrize("override", ["~a", "a=choice(1,2)"])
def test_deletions_and_sweeps_are_refused(override: str) -> None:
    with pytest.raises(ValueError, match="key=value"):
        LazyConfig.apply_overrides(OmegaConf.create({"a": 1}), [override])


# LazyCall and instantiate.


def test_instantiate_nested_calls() -> None:
    cfg = LazyCall(Record)(
        inner=LazyCall(Record)(x=1),
        items=[LazyCall(Record)(x=2), 5],
        plain={"m": LazyCall(Record)(x=3)},
        linear=LazyCall(nn.Linear)(in_features=3, out_features="${.in_features}"),
    )
    made = instantiate(cfg).kwargs
    assert made["inner"].kwargs == {"x": 1}
    assert isinstance(made["items"], ListConfig) and made["items"][0].kwargs == {"x": 2}
    # A mapping without _target_ is data, and is not searched for calls.
    assert made["plain"]["m"]["x"] == 3 and "_target_" in made["plain"]["m"]
    assert made["linear"].weight.shape == (3, 3)


def test_instantiate_resolves_relative_interpolation() -> None:
    cfg = LazyCall(Record)(
        bottom_up=LazyCall(Record)(out_features=["a", "b"]),
        in_features="${.bottom_up.out_features}",
        head=LazyCall(Record)(num_classes="${..num_classes}"),
        num_classes=7,
    )
    made = instantiate(cfg).kwargs
    assert list(made["in_features"]) == ["a", "b"]
    assert made["head"].kwargs == {"num_classes": 7}


def test_instantiate_plain_values_and_lists() -> None:
    for value in (5, None, (1, 2), {"a": 1}, "text"):
        assert instantiate(value) is value
    made = instantiate([1, {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}])
    assert made[0] == 1 and made[1].weight.shape == (3, 2)


def test_instantiate_keeps_objects() -> None:
    layer = nn.Identity()
    made = instantiate(LazyCall(Record)(layer=layer, kind=nn.Linear, make=functools.partial(int)))
    assert made.kwargs["layer"] is layer and made.kwargs["kind"] is nn.Linear


def test_instantiate_names_the_target_of_a_type_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("detectron2"), "propagate", True)
    with pytest.raises(TypeError, match="foo"):
        instantiate(LazyCall(nn.Linear)(in_features=2, foo=3))
    assert "Linear" in caplog.text


def test_instantiate_refuses_invalid_targets() -> None:
    with pytest.raises(ImportError, match="torch.nn.Linearz"):
        instantiate({"_target_": "torch.nn.Linearz"})
    with pytest.raises((TypeError, AssertionError), match="5"):
        instantiate({"_target_": 5})
    with pytest.raises(TypeError, match="5"):
        LazyCall(5)
