"""Who may import whom (the table below), read from the source; nobody bypasses the host."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mvit_det"

# folder of mvit_det -> (may import detectron2, parts of mvit_det that it may import)
# `errors` is a leaf that everybody but the torch-only backbone may import; `files`, `ava_files` and
# `randomness` are leaves as well.
RULES = {
    "backbone": (False, {"backbone"}),
    "detection": (True, {"backbone", "detection", "errors"}),
    "recognition": (True, {"backbone", "recognition", "errors"}),
    "checkpoint": (False, {"checkpoint", "backbone", "errors", "files"}),
    "data": (True, {"data", "ava_files", "errors", "files", "randomness"}),
    "evaluation": (True, {"evaluation", "ava_files", "errors", "files"}),
    "engine": (True, {"engine", "checkpoint", "config_names", "errors", "files", "randomness"}),
    "benchmark": (True, {"benchmark", "engine", "checkpoint", "errors"}),
    "predict": (
        True,
        {"predict", "engine", "checkpoint", "evaluation", "data", "ava_files", "errors", "files"},
    ),
    "ava_files": (False, {"ava_files", "errors", "files"}),
    "errors": (False, set()),
    "files": (False, {"errors"}),
    "randomness": (False, set()),
    "__init__": (False, {"api", "config_names"}),
    "config_names": (False, {"errors"}),
    "api": (False, {"engine", "checkpoint", "config_names", "errors"}),
    "train": (True, {"engine", "data", "config_names", "errors"}),
    "cli": (False, {"train", "predict", "evaluation", "benchmark", "checkpoint"}),
}
BACKBONE_PACKAGES = {"torch", "mvit_det"}


def imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names.add(node.module)
            # `from mvit_det import x` imports the part x
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(path: Path) -> str:
    """The first folder (or module) of mvit_det that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


OURS = sorted(p for p in PACKAGE.rglob("*.py") if part(p) != "embedded")
EMBEDDED = sorted((PACKAGE / "embedded").rglob("*.py"))


def test_the_rules_name_every_part():
    assert {part(path) for path in OURS} == set(RULES)


@pytest.mark.parametrize("path", OURS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_part_imports_only_what_it_may(path):
    may_import_host, parts = RULES[part(path)]
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "detectron2":
            assert may_import_host, f"{name} in {path}"
        if top == "mvit_det" and rest:
            known = rest[0] in RULES or (PACKAGE / rest[0]).exists()
            assert not known or rest[0] in parts, f"{name} in {path}"
        if part(path) == "backbone":
            assert top in BACKBONE_PACKAGES | sys.stdlib_module_names, f"{name} in {path}"


@pytest.mark.parametrize("path", EMBEDDED, ids=lambda p: str(p.relative_to(PACKAGE / "embedded")))
def test_the_embedded_host_knows_nothing_of_us(path):
    source = ast.parse(path.read_text())
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("mvit_det") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("mvit_det")


def test_nobody_imports_the_embedded_host_by_its_path():
    files = [*OURS, *(ROOT / "configs").rglob("*.py"), ROOT / "train_net.py"]
    files += (ROOT / "tests").rglob("*.py")
    for path in files:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("mvit_det.embedded"), path
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                assert not any(name.startswith("mvit_det.embedded") for name in names), path


def test_nothing_needs_what_a_broken_real_host_lacks():
    # detectron2.model_zoo does not import with a current setuptools
    for path in [*OURS, *(ROOT / "configs").rglob("*.py"), ROOT / "train_net.py"]:
        assert not any("model_zoo" in name or name.endswith("_C") for name in imports_any(path))


def imports_any(path: Path) -> set[str]:
    """As ``imports``, for configs, which import each other relatively."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
