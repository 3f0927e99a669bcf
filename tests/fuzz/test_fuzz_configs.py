"""Configs in YAML, and overrides of the command line: up to what a start judges before the data."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mutations import WORDS, text_files, texts
from omegaconf import OmegaConf
from shipped_configs import shipped_config

from mvit_det.engine import apply_overrides, check_run, load_config
from mvit_det.tasks import task_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "configs"
TASKS = ["quickstart", "quickstart_classification", "quickstart_video", "quickstart_actions"]
# What YAML and Hydra could be asked to run.
CALLS = [
    "fuzzing.canary",
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "torch.load",
    "posix.fork",
]
CALLS += ["torch.hub.load", "mvit_det.predict.Predictor", "detectron2.config.LazyConfig.load"]
TAGS = [f"!!python/object/apply:{name} ['touch x']" for name in CALLS]
TAGS += [f"!!python/name:{name}" for name in CALLS] + ["!!python/object:object {}", "!!binary x"]
TAGS += [f"{{_target_: {name}, _args_: [touch x]}}" for name in CALLS]
VALUES = [
    "null",
    "true",
    "-1",
    "0",
    "1",
    "3",
    "0.5",
    "1e99",
    "-.inf",
    ".nan",
    "[]",
    "{}",
    "[1]",
    "[[]]",
]
VALUES += [
    "x",
    "''",
    "'1'",
    "[1, 2, 3]",
    "{a: 1}",
    "2020-01-01",
    "0b1",
    "1_000",
    "&a [*a]",
    "*b",
    "???",
]
VALUES += [
    "${train}",
    "${train.seed}",
    "${a.b}",
    "${oc.env:HOME}",
    "${",
    "${${a}}",
    "9" * 400,
    "\\",
    "~",
]
VALUES += [
    "${oc.decode:'1'}",
    "<<: {a: 1}",
    "!!set {a}",
    "!!float x",
    "!!int 'x'",
    "? a",
    "- - -",
    "%",
    "@",
]
VALUES += [
    "[nan]",
    "[-1]",
    "[0, 0]",
    "[x, y]",
    "{_target_: 3}",
    "{_target_: torch.nn.Linear}",
    *TAGS,
]
SHORT = [word for word in WORDS if len(word) < 1000]  # messages repeat what a user has typed
# What Hydra's grammar has besides.
OVERRIDES = ["range(1,3)", "choice(a,b)", "1,2", "glob(*)", "shuffle(1)", "int(3)", "str(x)", "a:b"]
OVERRIDES += ["'a b'", "a b", "[a,{b:[c]}]", "${oc.create:{}}", "a=b", "{1:2}", "[1,", "{a}", "\\,"]


def judged(cfg) -> None:
    task = task_of(cfg)
    cfg = apply_overrides(cfg, [])
    check_run(cfg, training=True)
    task.settle_classes(cfg, training=True)


@st.composite
def near(draw, old: str) -> str:
    """Draw a value of the same kind, mostly a possible one; ``old`` is YAML or an override."""
    numbers = list(re.finditer(r"-?\d+(\.\d*)?(e-?\d+)?", old))
    if numbers:
        at = draw(st.sampled_from(numbers))
        number = draw(
            st.integers(0, 9).map(str) | st.sampled_from([at[0] + "0", f"-{at[0]}", "0.5", "1.0"])
        )
        return f"{old[: at.start()]}{number}{old[at.end() :]}"
    if old.strip() in ("true", "false"):
        return draw(st.sampled_from(["true", "false"]))
    return draw(st.sampled_from([f"{old}x", old[1:], old[:-1], "null", old]))


@st.composite
def yaml_files(draw, text: str) -> bytes:
    """Draw a config with one to three values or lines changed."""
    lines = text.split("\n")
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        row = draw(st.integers(0, len(lines) - 1))
        indent, colon, old = lines[row].partition(":")
        kind = draw(st.integers(0, 9))
        if kind == 8 and colon:
            lines[row] = f"{indent}: {draw(st.sampled_from(VALUES))}"
        elif kind <= 4 and colon and old:
            lines[row] = f"{indent}: {draw(near(old.strip()))}"
        elif kind == 5:
            lines[row] = " " * draw(st.integers(0, 6)) + lines[row].lstrip()
        elif kind == 6:
            lines.insert(row, lines[draw(st.integers(0, len(lines) - 1))])
        else:
            del lines[row]
    text = "\n".join(lines)
    return draw(text_files(text, VALUES)) if draw(st.integers(0, 4)) == 0 else text.encode()


@pytest.mark.parametrize("name", TASKS)
def test_yaml_files(name, fuzz, tmp_path):
    path = tmp_path / "config.yaml"
    text = (GOLDEN / f"{name}.yaml").read_text()

    def read(data):
        path.write_bytes(data)
        judged(load_config(str(path)))

    fuzz(text.encode(), yaml_files(text), read, short=20)


def values_of(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, value as text) of a config, sections included."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        text = "{}" if isinstance(value, dict) else str(value).replace(" ", "")
        yield f"{prefix}{key}", text.replace("None", "null").replace("True", "true")
        if isinstance(value, (dict, list)):
            yield from values_of(value, f"{prefix}{key}.")


@st.composite
def overrides(draw, known: list[tuple[str, str]]) -> list[str]:
    """Draw one or two overrides, mostly of keys that exist, to values of the same kind."""
    words = []
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        key, old = draw(st.sampled_from(known))
        kind = draw(st.integers(0, 5))
        if kind == 0:
            key = draw(st.sampled_from(["+", "++", "~"])) + key
        words.append(f"{key}={draw(near(old))}")
        if kind in (1, 2):
            value = draw(st.sampled_from(VALUES + OVERRIDES + SHORT) | st.floats().map(str))
            words[-1] = f"{key}={value}"
        elif kind == 3:
            words[-1] = draw(texts(words[-1], SHORT))
    return words


@pytest.mark.parametrize("name", TASKS)
def test_overrides(name, fuzz):
    known = list(values_of(OmegaConf.to_container(shipped_config(name), resolve=False)))

    def read(words):
        judged(apply_overrides(shipped_config(name), words))

    fuzz(["train.max_iter=7"], overrides(known), read, short=20)
