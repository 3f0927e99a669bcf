"""A YAML config is data: what it names is judged by the object, and nothing in it runs."""

import sys
from pathlib import Path

import pytest
from detectron2.config import LazyConfig
from omegaconf import OmegaConf

from mvit_det.engine import check_run, load_config
from mvit_det.engine.yaml_config import read_yaml_config
from mvit_det.errors import UserError

SAVED = sorted((Path(__file__).parents[1] / "golden/configs").glob("*.yaml"))


def read(tmp_path, text, **options):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml_config(str(path), **options)


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_saved_configs_are_read_as_by_the_host(path):
    cfg = load_config(str(path))
    assert repr(cfg) == repr(LazyConfig.load(str(path)))
    check_run(cfg, training=True)


@pytest.mark.parametrize(
    "path",
    [
        "os.system",  # another package
        "logging.os.system",
        "torch.load",  # of torch, but neither torch.nn nor torch.optim
        "torch.hub.load",
        "mvit_det.engine.yaml_config.pkgutil.os.system",  # an allowed package's import
        "torch.nn.modules.module.functools.partial",
        "torch.nn.modules.module.warnings.sys.modules",  # neither class nor function
        "torch.nn.Module.__init__.__globals__",  # through attributes
        "torch.nn.Module.load_state_dict",  # a method
        "mvit_det.engine.do_train",  # a function that no config calls
        "mvit_det.data.loader.__class__",
        "mvit_det.predict.Predictor",  # executes the Python config at a path
        "torchvision.datasets.LSUN",  # loads a pickle
        "timm.utils.ModelEma",
    ],
)
@pytest.mark.parametrize("text", ["a: [{{_target_: {}}}]", "a: !!python/name:{}", "task: {}"])
def test_row_31_objects_that_configs_do_not_build_are_refused(tmp_path, path, text):
    with pytest.raises(UserError, match="is not allowed in a YAML config"):
        read(tmp_path, text.format(path))


def test_row_31_a_module_of_another_package_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "payload.py").write_text("raise SystemExit('the payload has run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="add --allow-target payload "):
        read(tmp_path, "a: {_target_: payload.Model}")
    assert "payload" not in sys.modules


def test_a_package_that_the_user_allows_serves(tmp_path, monkeypatch):
    (tmp_path / "trusted_parts.py").write_text("def head(): return 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "a: {_target_: trusted_parts.head}"
    assert read(tmp_path, text, allow_targets=["trusted_parts"]).a._target_ == "trusted_parts.head"
    with pytest.raises(UserError, match="os.system.*is not allowed"):
        read(tmp_path, "a: {_target_: os.system}", allow_targets=["trusted_parts"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: !!python/object/apply:os.system [x]", "line 1: !!python/object/apply:os.system is"),
        ("a: !!python/object/apply:functools.partial {state: 3}", "not a saved functools.partial"),
        ("a: '${oc.env:HOME}'", "a='${oc.env:HOME}' calls a resolver"),
        ("a: '${oc.create:{_target_:os.system}}'", "calls a resolver"),
        ("a: '${oc.select:${b}}'", "calls a resolver"),
        ("a: '${oc.select:b,${oc.env:HOME}}'", "calls a resolver"),
        ("b: oc.env\na: '${${b}:HOME}'", "calls a resolver"),
        ("b: os.system\na: {_target_: '${b}'}", "must be the path of a class or function"),
        ("a: {_target_: 3}", "a._target_=3 must be the path"),
        ("a: {_target_: torch.nn.Nope}", "has no attribute 'Nope'"),
        ("a: &a [*a]", "expands to more than 200,000 values"),
        ("[" * 5000, "nested too deeply"),
        ("a: " + "9" * 5000, "cannot be read as YAML"),
        ("d: {_target_: torch.nn.Linear, cfg: {MODEL: 3}}", "the key d.cfg.MODEL is refused"),
        ("{[1]: 2}", "found unhashable key"),
        ("a: b: c", "mapping values are not allowed here"),
        ("2024-01-01: 3", "Incompatible key type 'date'"),
        ("- 1", "must hold keys and values, not list"),
        ("", "must hold keys and values, not NoneType"),
    ],
)
def test_row_31_text_that_is_not_a_config_ends_in_one_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError) as raised:
        read(tmp_path, text)
    assert sentence in str(raised.value) and "\n" not in str(raised.value)


def test_row_30_pickles_of_proposals_are_not_loaded(tmp_path):
    """Which Detectron2 does with `pickle.load`."""
    with pytest.raises(UserError, match="d.proposal_files.0 is refused"):
        read(tmp_path, "d: {_target_: torch.nn.Linear, proposal_files: [a.pkl]}")


def test_aliases_that_multiply_are_refused_before_they_are_copied(tmp_path):
    names = "abcdefgh"
    lines = [
        f"{name}: &{name} [{', '.join(['*' + last] * 9)}]" for last, name in zip(names, names[1:])
    ]
    with pytest.raises(UserError, match="expands to more than 200,000 values"):
        read(tmp_path, "\n".join(["a: &a [1]", *lines]))


def test_references_to_other_keys_and_a_byte_order_mark_are_read(tmp_path):
    cfg = read(tmp_path, "\ufeffa: {b: 3}\nc: '${a.b}'\nd: ['${..c}']\ne: '${oc.select:f.g,true}'")
    assert (cfg.c, cfg.e) == (3, True) and OmegaConf.to_container(cfg, resolve=True)["d"] == [3]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\nx = (", "bad.py, line 2, cannot be run: SyntaxError: '(' was never closed"),
        ("from nowhere import x", "bad.py, line 1, cannot be run: ModuleNotFoundError: No module"),
        ("a = dict(b=1)\nc = a['d']", "bad.py, line 2, cannot be run: KeyError: d"),
    ],
)
def test_a_python_config_that_fails_ends_in_one_sentence(tmp_path, text, sentence):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(UserError) as raised:
        load_config(str(tmp_path / "bad.py"))
    assert sentence in str(raised.value) and "\n" not in str(raised.value)
    (tmp_path / "good.py").write_text("from .bad import c")
    with pytest.raises(UserError, match="bad.py, line"):  # not the importing config
        load_config(str(tmp_path / "good.py"))
