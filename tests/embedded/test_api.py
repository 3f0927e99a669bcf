"""The host has exactly the names that the product, its configs, and configs of users need.

If the real Detectron2 is installed, arguments and their defaults are compared with it.
"""

import ast
import importlib
import importlib.util
import inspect
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from detectron2.utils.registry import locate
from hosts import ROOT, both_hosts

import mvit_det

HOST = ROOT / "mvit_det" / "embedded" / "detectron2"
embedded_only = pytest.mark.skipif(mvit_det.host() == "real", reason="is about the embedded host")

# Names for configs and scripts of users, in addition to those that the product uses.
USERS = {
    "detectron2.data": ["Metadata", "MapDataset", "build_detection_train_loader"],
    "detectron2.data.datasets": ["convert_to_coco_json", "register_coco_instances"],
    "detectron2.data.datasets.coco": ["convert_to_coco_dict"],
    "detectron2.data.samplers": ["InferenceSampler"],
    "detectron2.data.transforms": [
        *("Augmentation", "AugmentationList", "AugInput", "BlendTransform", "ColorTransform"),
        *("CropTransform", "ExtentTransform", "FixedSizeCrop", "HFlipTransform"),
        *("NoOpTransform", "PILColorTransform", "PadTransform"),
        *("RandomApply", "RandomBrightness", "RandomContrast", "RandomCrop"),
        *("RandomExtent", "RandomFlip", "RandomLighting"),
        *("RandomResize", "RandomRotation", "RandomSaturation", "Resize", "ResizeScale"),
        *("ResizeShortestEdge", "ResizeTransform", "RotationTransform", "ScaleTransform"),
        *("Transform", "TransformList", "VFlipTransform"),
    ],
    "detectron2.evaluation": ["COCOEvaluator", "DatasetEvaluators"],
    "detectron2.evaluation.coco_evaluation": ["instances_to_coco_json"],
    "detectron2.layers": ["Conv2d", "get_norm"],
    "detectron2.solver": ["LRMultiplier"],
    "detectron2.structures": ["BitMasks", "pairwise_iou"],
    "detectron2.utils.events": ["EventStorage", "EventWriter"],
}
USED_METHODS = {"step", "_rand_range"}  # of EventStorage and Augmentation, for users

# Arguments that the embedded host omits, because neither code nor configs use them.
LEFT_OUT = {
    "Box2BoxTransform": {"scale_clamp"},
    "COCOEvaluator": {"kpt_oks_sigmas", "use_fast_impl"},
    "COCOEvaluator.evaluate": {"img_ids"},
    "DatasetFromList": {"copy", "serialize"},
    "DatasetMapper": {"keypoint_hflip_indices", "precomputed_proposal_topk", "use_keypoint"},
    "FPN": {"fuse_type", "square_pad"},
    "FastRCNNOutputLayers": {
        *("box_reg_loss_type", "fed_loss_num_classes", "get_fed_loss_cls_weights", "loss_weight"),
        *("smooth_l1_beta", "use_fed_loss", "use_sigmoid_ce"),
    },
    "GeneralizedRCNN": {"vis_period"},
    "ImageList.from_tensors": {"pad_value", "padding_constraints"},
    "LRScheduler": {"optimizer"},
    "RPN": {"anchor_boundary_thresh", "box_reg_loss_type", "loss_weight", "smooth_l1_beta"},
    "SimpleTrainer": {"async_write_metrics", "gather_metric_period", "zero_grad_before_forward"},
    "SimpleTrainer.write_metrics": {"prefix"},
    "StandardROIHeads": {
        *("keypoint_head", "keypoint_in_features", "keypoint_pooler", "train_on_pred_boxes"),
    },
    "StandardRPNHead": {"box_dim"},
    "WarmupParamScheduler": {"rescale_interval", "warmup_method"},
    "default_argument_parser": {"epilog"},
    "detector_postprocess": {"mask_threshold"},
    "get_detection_dataset_dicts": {"check_consistency", "min_keypoints", "proposal_files"},
    "inference_on_dataset": {"callbacks"},
    "setup_logger": {"abbrev_name", "color", "enable_propagation"},
}
# Arguments of methods that are abstract in the real host, without the arguments of its subclasses.
ADDED = {"Backbone.forward": {"x"}, "ROIPooler.forward": {"images"}}


# Of the real Detectron2 alone, as the peer in benchmarks.
PEER = {"DatasetMapperTTA", "GeneralizedRCNNWithTTA", "get_cfg"}


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Return all nodes of the syntax tree of a file."""
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def used_by_product() -> dict[str, set[str]]:
    """Return names of Detectron2, by module, that product, configs and scripts import."""
    files = [p for p in ROOT.glob("mvit_det/**/*.py") if HOST not in p.parents]
    for folder in ("configs", "benchmarks", "datasets"):
        files += (ROOT / folder).rglob("*.py")
    uses: dict[str, set[str]] = {}
    for path in [*files, ROOT / "train_net.py"]:
        modules: dict[str, str] = {}
        for node in nodes_of(path):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("detectron2"):
                for alias in node.names:
                    value = getattr(importlib.import_module(node.module), alias.name, None)
                    if alias.name in PEER:
                        continue
                    if value is None or inspect.ismodule(value):
                        modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                    else:
                        uses.setdefault(node.module, set()).add(alias.name)
        for node in nodes_of(path):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in modules:
                    uses.setdefault(modules[node.value.id], set()).add(node.attr)
    return uses


def api() -> dict[str, list[str]]:
    """Return the names of the product and of USERS, by module."""
    uses = used_by_product()
    return {m: sorted({*uses.get(m, ()), *USERS.get(m, ())}) for m in sorted({*uses, *USERS})}


def _identifiers(node: ast.AST) -> set[str]:
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def _defined_names(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    assigned = isinstance(node, (ast.Assign, ast.AnnAssign))
    targets = getattr(node, "targets", None) or [node.target] if assigned else []
    return [t.id for t in targets if isinstance(t, ast.Name)]


def test_every_definition_is_needed_by_the_product_or_users() -> None:
    """Names of the product or of USERS depend, directly or not, on every definition of the host."""
    definitions: dict[str, list[ast.stmt]] = {}
    reached = {name for names in api().values() for name in names}
    for path in HOST.rglob("*.py"):
        for node in nodes_of(path)[0].body:
            for name in _defined_names(node):
                definitions.setdefault(name, []).append(node)
            if not (_defined_names(node) or isinstance(node, (ast.Import, ast.ImportFrom))):
                reached |= _identifiers(node)  # runs on import
    new = set(reached)
    while new:
        nodes = [node for name in new for node in definitions.get(name, ())]
        new = set().union(*map(_identifiers, nodes)) - reached
        reached |= new
    assert sorted(definitions.keys() - reached - {"__version__"}) == []


@embedded_only
def test_every_method_has_a_caller() -> None:
    """Each public method is called by name, or implements an interface outside of the host."""
    named = set(USED_METHODS)
    for path in [*ROOT.glob("mvit_det/**/*.py"), *ROOT.glob("configs/**/*.py")]:
        for node in nodes_of(path):
            if isinstance(node, ast.Attribute):
                named.add(node.attr)
            elif isinstance(node, ast.Constant):
                named.add(node.value)
    unused = []
    for path in HOST.rglob("[a-z]*.py"):
        module = importlib.import_module(
            ".".join(path.relative_to(HOST.parent).with_suffix("").parts)
        )
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == module.__name__:
                methods = {name for name, value in vars(kind).items() if inspect.isfunction(value)}
                outside = [c for c in kind.__mro__ if not c.__module__.startswith("detectron2")]
                inherited = {name for owner in outside for name in dir(owner)}
                public = {name for name in methods if name[0] != "_"}
                unused += [f"{kind.__qualname__}.{name}" for name in public - inherited - named]
    assert unused == []


@pytest.mark.parametrize("module", sorted(USERS))
def test_names_for_users_exist(module: str) -> None:
    host = importlib.import_module(module)
    assert [name for name in USERS[module] if not hasattr(host, name)] == []


# Missing names.


@embedded_only
@pytest.mark.parametrize(
    "code, name",
    [
        ("import detectron2.projects.point_rend", "detectron2.projects"),
        ("from detectron2 import model_zoo", "detectron2.model_zoo"),
        ("from detectron2.modeling import FPN, build_model", "detectron2.modeling.build_model"),
        ("from detectron2.engine.defaults import DefaultTrainer", "defaults.DefaultTrainer"),
        ("import detectron2.structures as s; s.RotatedBoxes", "structures.RotatedBoxes"),
        ("import detectron2.structures as s; s.RotatedBoxes([])", "structures.RotatedBoxes"),
        ("from hydra.utils import get_class as c; c('detectron2.layers.DCN')", "layers.DCN"),
    ],
)
def test_error_for_a_missing_name_points_to_the_real_detectron2(code: str, name: str) -> None:
    with pytest.raises(ImportError, match=rf"lacks \S*{name}:.*readthedocs.io/tutorials/install"):
        exec(code, {})


@embedded_only
def test_missing_names_can_be_queried_without_that_error() -> None:
    module = importlib.import_module("detectron2.structures")
    assert not hasattr(module, "RotatedBoxes") and getattr(module, "RotatedBoxes", 3) == 3
    assert importlib.util.find_spec("detectron2.projects") is None
    assert importlib.util.find_spec("detectron2.layers").origin.startswith(str(HOST))
    with pytest.raises(AttributeError, match="^module"):
        assert module.__wrapped__
    assert inspect.getmodule(module.Boxes).__name__ == "detectron2.structures.boxes"
    assert pickle.loads(pickle.dumps(module.Boxes)) is module.Boxes


# Comparison with the real host.

# For every listed class and function: its arguments, those of its public methods, and its path in a
# saved config.
DESCRIBE = """
import importlib, inspect
from collections.abc import Callable
import yaml
from detectron2.config import LazyCall, LazyConfig

def default(value):
    if value is inspect.Parameter.empty:
        return "required"
    return repr(value) if not callable(value) else value.__qualname__

def arguments(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: (p.kind.name, default(p.default)) for p in parameters}

def methods(kind):
    own = [owner for owner in kind.__mro__ if owner.__module__.startswith("detectron2.")]
    inherited = {name for owner in kind.__mro__ if owner not in own for name in vars(owner)}
    names = {name for owner in own for name in vars(owner)} - (inherited - {"forward"})
    return {
        name: arguments(getattr(kind, name))
        for name in names
        if not name.startswith("_") and inspect.isroutine(getattr(kind, name))
    }

result = {}
for module, names in api.items():
    for name in names:
        thing = getattr(importlib.import_module(module), name, None)
        if not callable(thing):
            continue
        LazyConfig.save(LazyCall(thing)(), path)
        with open(path) as file:
            saved = yaml.safe_load(file)["_target_"]
        result[f"{module}.{name}"] = {
            "arguments": arguments(thing),
            "methods": methods(thing) if inspect.isclass(thing) else {},
            "saved_as": saved,
            "is_target": not inspect.isabstract(thing) and "<locals>" not in saved,
        }
"""


@cache
def _describe(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return both_hosts(DESCRIBE, api=api(), path=path)


@pytest.fixture
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the results of DESCRIBE on (real, embedded)."""
    return _describe(str(tmp_path_factory.getbasetemp() / "described.yaml"))


def _difference(name: str, real: dict[str, tuple], ours: dict[str, tuple]) -> list[str]:
    """List the differences between the arguments of two functions, as lines.

    A named argument of one host may be one of ``**kwargs`` of the other.
    """
    named, open_ended = [], []
    for arguments in (real, ours):
        open_ended.append(any(kind == "VAR_KEYWORD" for kind, _ in arguments.values()))
        named.append({k: v for k, v in arguments.items() if not v[0].startswith("VAR_")})
    missing, added = named[0].keys() - named[1].keys(), named[1].keys() - named[0].keys()
    left_out = LEFT_OUT.get(name, set())
    problems = {k: "is listed in LEFT_OUT, but exists" for k in left_out - missing}
    if not open_ended[1]:
        problems |= {k: "is missing" for k in missing - left_out}
    if not open_ended[0]:
        problems |= {k: "does not exist in the real host" for k in added - ADDED.get(name, set())}
    for key in named[0].keys() & named[1].keys():
        if named[0][key] != named[1][key]:
            problems[key] = f"{named[1][key]} should be {named[0][key]}"
    return [f"{name}({key}): {problem}" for key, problem in problems.items()]


def test_arguments_equal_those_of_the_real_host(described: Any) -> None:
    real, ours = described
    assert set(real) == set(ours) and len(ours) > 50
    lines = [
        line
        for name in real
        for line in _difference(
            name.rpartition(".")[2], real[name]["arguments"], ours[name]["arguments"]
        )
    ]
    assert not lines, "\n".join(lines)


def test_methods_equal_those_of_the_real_host(described: Any) -> None:
    real, ours = described
    lines = []
    for name, thing in ours.items():
        for method, arguments in thing["methods"].items():
            expected = real[name]["methods"].get(method)
            if expected is None:
                lines.append(f"{name}.{method}: does not exist in the real host")
            else:
                short = name.rpartition(".")[2]
                lines += _difference(f"{short}.{method}", expected, arguments)
    assert not lines, "\n".join(lines)


def test_paths_in_saved_configs_are_valid_on_both_hosts(described: Any) -> None:
    """A config.yaml written by one host must load on the other; this host reads both."""
    invalid = []
    for host in described:
        for name, thing in host.items():
            targets = all(side[name]["is_target"] for side in described)
            if name == "detectron2.config.instantiate" or not targets:
                continue  # the former shares its path with a module, and is not a target either
            module, _, attribute = name.rpartition(".")
            try:
                target = locate(thing["saved_as"])
            except ImportError:
                target = None
            if target != getattr(importlib.import_module(module), attribute):
                invalid.append(thing["saved_as"])
    assert not invalid, sorted(set(invalid))
