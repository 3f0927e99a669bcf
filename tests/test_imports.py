"""Who may import whom (the tables below), read from the source; nobody bypasses the host."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mvit_det"

# Part of mvit_det -> (may import detectron2, parts of mvit_det that it may import). Each may import
# itself, and all but the parts that import torch only `errors`.
RULES = {
    "kernels": (False, set()),
    "backbone": (False, {"kernels"}),
    "detection": (True, {"backbone"}),
    "recognition": (True, {"backbone"}),
    "checkpoint": (False, {"backbone", "files"}),
    "data": (
        True,
        {
            *("ava_files", "coco_files", "coco_suspicions"),
            *("commands", "files", "randomness", "workers"),
        },
    ),
    "evaluation": (True, {"ava_files", "coco_files", "coco_suspicions", "files"}),
    "engine": (
        True,
        {
            *("backbone", "checkpoint", "commands", "config_names", "files", "kernels"),
            *("precision", "randomness", "workers"),
        },
    ),
    "tasks": (True, {"data", "evaluation", "ava_files", "detection", "recognition"}),
    "exported": (False, set()),
    "export": (True, {"predict", "tasks", "engine", "data", "exported"}),
    "benchmark": (True, {"tasks", "engine", "checkpoint", "precision"}),
    "check": (
        True,
        {"tasks", "engine", "checkpoint", "evaluation", "data", "files", "progress", "train"},
    ),
    "predict": (
        True,
        {
            *("progress", "precision", "tasks", "engine", "evaluation", "data", "ava_files"),
            *("exported", "files"),
        },
    ),
    "ava_files": (False, {"files"}),
    "coco_files": (False, {"files"}),
    "coco_suspicions": (False, {"coco_files"}),
    "errors": (False, set()),
    "files": (False, set()),
    "precision": (False, {"kernels"}),
    "progress": (False, set()),
    "randomness": (False, set()),
    "workers": (False, set()),
    "__init__": (False, {"api", "config_names"}),
    "config_names": (False, set()),
    "commands": (False, set()),
    "api": (False, {"engine", "checkpoint", "config_names"}),
    "train": (
        True,
        {
            *("tasks", "engine", "data", "exported", "commands", "config_names", "files"),
            *("precision", "workers"),
        },
    ),
    "cli": (
        False,
        {"train", "check", "predict", "evaluation", "export", "benchmark", "checkpoint"},
    ),
}
# Of rooms within a part: which others they may import, besides files at the part's top.
ROOMS = {
    "data": {
        "decoding": set(),
        "custom": set(),
        "detection": {"custom"},
        "classification": {"custom"},
        "video": {"custom", "decoding"},
        "actions": {"custom", "decoding", "video"},
        "checks": {"custom", "decoding", "detection", "classification", "video", "actions"},
        "synthetic": {"custom", "detection", "classification", "video", "actions"},
    },
    "evaluation": {
        "drawing": set(),
        "detection": {"drawing"},
        "classification": {"drawing"},
        "video": {"classification"},
        "actions": {"drawing"},
    },
}
# Files at the top of a part that put its rooms together; no other file there may import a room.
FRONTS = {"data/__init__.py", "evaluation/__init__.py", "evaluation/__main__.py"}
# Outside of the package: what may be imported of it.
OUTSIDE = {
    "configs": {"backbone", "data", "detection", "engine", "evaluation", "recognition", "tasks"},
    "benchmarks": RULES.keys() - {"predict"},
    "datasets": {"data", "errors", "files"},
    "train_net.py": {"train"},
}
TORCH_ONLY = {"kernels", "backbone"}

OURS = sorted(p for p in PACKAGE.rglob("*.py") if "embedded" not in p.relative_to(PACKAGE).parts)
EMBEDDED = sorted((PACKAGE / "embedded").rglob("*.py"))
SCRIPTS = sorted(path for name in OUTSIDE for path in (ROOT / name).rglob("*.py"))
SCRIPTS += [ROOT / "train_net.py"]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in [*OURS, PACKAGE / "embedded/__init__.py"]
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all modules that a file imports, also within functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            # `from mvit_det import x` imports the part x
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from [node.module, *(name for name in names if name in MODULES)]


def parts_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(PACKAGE).with_suffix("").parts


def test_the_rules_name_every_part_and_room():
    assert {parts_of(path)[0] for path in OURS} == set(RULES)
    for part, rooms in ROOMS.items():
        assert {path.parent.name for path in (PACKAGE / part).glob("*/*.py")} == set(rooms)


@pytest.mark.parametrize("path", OURS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_part_imports_only_what_it_may(path):
    part, *inside = parts_of(path)
    may_import_host, others = RULES[part]
    others = others | {part} | ({"errors"} if part not in TORCH_ONLY else set())
    assert not any(isinstance(n, ast.ImportFrom) and n.level for n in ast.walk(tree(path)))
    for name in imports(path):
        top, *rest = name.split(".")
        assert top != "detectron2" or may_import_host, f"{name} in {path}"
        assert top != "mvit_det" or not rest or rest[0] in others, f"{name} in {path}"
        if part in TORCH_ONLY:
            assert top in {"torch", "mvit_det"} | sys.stdlib_module_names, f"{name} in {path}"
        # a part's public names are for other parts; its files import each other directly
        assert part not in ROOMS or name != f"mvit_det.{part}", f"{name} in {path}"
        if part in ROOMS and rest[:1] == [part] and rest[1:2] and rest[1] in ROOMS[part]:
            here = inside[0] if len(inside) > 1 else ""
            front = str(path.relative_to(PACKAGE)) in FRONTS
            allowed = ROOMS[part][here] | {here} if here else set(ROOMS[part]) if front else set()
            assert rest[1] in allowed, f"{name} in {path}"


@pytest.mark.parametrize("rooms", [{k: v[1] for k, v in RULES.items()}, *ROOMS.values()])
def test_the_tables_have_no_cycle(rooms):
    remaining = dict(rooms)
    while remaining:
        free = [name for name, others in remaining.items() if not others & remaining.keys()]
        assert free, f"a cycle among {sorted(remaining)}"
        for name in free:
            del remaining[name]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_scripts_and_configs_import_only_what_they_may(path):
    allowed = OUTSIDE[path.relative_to(ROOT).parts[0]]
    for name in imports(path):
        top, *rest = name.split(".")
        assert top != "mvit_det" or not rest or rest[0] in allowed, name


def names_in_strings(path: Path) -> Iterator[str]:
    """Strings that are dotted names below mvit_det, such as targets of patches and of configs."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^mvit_det(?:\.\w+)+$", node.value)


def test_strings_that_look_like_names_of_this_package_resolve():
    saved = (ROOT / "tests" / "golden").rglob("*.yaml")
    found = {
        n for path in saved for n in re.findall(r"_target_: (mvit_det[\w.]+)", path.read_text())
    }
    found |= {name for path in [*OURS, *SCRIPTS, *TESTS] for name in names_in_strings(path)}
    assert len(found) > 20
    for name in sorted(found - set(logger_names())):
        assert resolves(name), f"{name} occurs in a string and does not exist"


def logger_names() -> Iterator[str]:
    """Names that are passed to getLogger, which may differ from modules."""
    for path in TESTS:
        yield from re.findall(r"getLogger\(\"(mvit_det[\w.]*)\"\)", path.read_text())


def resolves(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("path", EMBEDDED, ids=lambda p: str(p.relative_to(PACKAGE / "embedded")))
def test_the_embedded_host_does_not_import_this_package(path):
    assert not any(name.startswith("mvit_det") for name in imports(path))


def test_nobody_imports_the_embedded_host_by_its_path():
    for path in [*OURS, *SCRIPTS, *TESTS]:
        assert not any(name.startswith("mvit_det.embedded") for name in imports(path)), path


def test_nothing_needs_what_a_broken_real_host_lacks():
    # detectron2.model_zoo does not import with a current setuptools
    for path in [*OURS, *SCRIPTS]:
        froms = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)]
        names = [*imports(path), *(alias.name for node in froms for alias in node.names)]
        assert not any("model_zoo" in name or name.endswith("_C") for name in names)
