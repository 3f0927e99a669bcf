"""The part of Detectron2's API that this project uses, and nothing beyond it.

A name joins the embedded host only after it has joined ``API``. Where the real Detectron2 is
installed, arguments and their defaults are compared with it.
"""

import importlib
import inspect
from functools import cache
from typing import Any

import pytest
from parity import both_hosts

import mvit_det
from detectron2.utils.registry import locate

API = {
    # Configs, services, engine.
    "detectron2.config": ["LazyConfig", "LazyCall", "instantiate"],
    "detectron2.utils.comm": [
        "all_gather",
        "create_local_process_group",
        "gather",
        "get_local_process_group",
        "get_local_rank",
        "get_local_size",
        "get_rank",
        "get_world_size",
        "is_main_process",
        "reduce_dict",
        "shared_random_seed",
        "synchronize",
    ],
    "detectron2.utils.events": [
        "CommonMetricPrinter",
        "EventStorage",
        "EventWriter",
        "JSONWriter",
        "TensorboardXWriter",
        "get_event_storage",
    ],
    "detectron2.utils.logger": ["log_every_n_seconds", "setup_logger"],
    "detectron2.utils.env": ["seed_all_rng"],
    "detectron2.utils.registry": ["Registry", "locate"],
    "detectron2.utils.file_io": ["PathManager"],
    "detectron2.utils.collect_env": ["collect_env_info"],
    "detectron2.solver": ["LRMultiplier", "WarmupParamScheduler", "get_default_optimizer_params"],
    "detectron2.solver.build": ["get_default_optimizer_params"],
    "detectron2.checkpoint": ["Checkpointer", "DetectionCheckpointer", "PeriodicCheckpointer"],
    "detectron2.engine": [
        "AMPTrainer",
        "BestCheckpointer",
        "DEFAULT_TIMEOUT",
        "EvalHook",
        "HookBase",
        "IterationTimer",
        "LRScheduler",
        "PeriodicCheckpointer",
        "PeriodicWriter",
        "SimpleTrainer",
        "TrainerBase",
        "create_ddp_model",
        "default_argument_parser",
        "default_setup",
        "default_writers",
        "hooks",
        "launch",
    ],
    "detectron2.engine.defaults": [
        "create_ddp_model",
        "default_argument_parser",
        "default_setup",
        "default_writers",
    ],
    "detectron2.engine.hooks": [
        "BestCheckpointer",
        "EvalHook",
        "IterationTimer",
        "LRScheduler",
        "PeriodicCheckpointer",
        "PeriodicWriter",
    ],
    # Data and evaluation.
    "detectron2.data": [
        "DatasetCatalog",
        "DatasetFromList",
        "DatasetMapper",
        "MapDataset",
        "Metadata",
        "MetadataCatalog",
        "ToIterableDataset",
        "build_detection_test_loader",
        "build_detection_train_loader",
        "get_detection_dataset_dicts",
        "print_instances_class_histogram",
    ],
    "detectron2.data.datasets": ["load_coco_json", "register_coco_instances"],
    "detectron2.data.transforms": [
        "AugInput",
        "Augmentation",
        "AugmentationList",
        "CropTransform",
        "FixedSizeCrop",
        "HFlipTransform",
        "NoOpTransform",
        "PadTransform",
        "RandomApply",
        "RandomCrop",
        "RandomFlip",
        "Resize",
        "ResizeScale",
        "ResizeShortestEdge",
        "ResizeTransform",
        "Transform",
        "TransformList",
        "VFlipTransform",
    ],
    "detectron2.data.detection_utils": [
        "SizeMismatchError",
        "annotations_to_instances",
        "check_image_size",
        "filter_empty_instances",
        "read_image",
        "transform_instance_annotations",
    ],
    "detectron2.data.samplers": ["InferenceSampler", "TrainingSampler"],
    "detectron2.evaluation": [
        "COCOEvaluator",
        "DatasetEvaluator",
        "DatasetEvaluators",
        "inference_context",
        "inference_on_dataset",
        "print_csv_format",
    ],
    "detectron2.evaluation.testing": ["flatten_results_dict", "print_csv_format"],
    "detectron2.utils.visualizer": ["VisImage", "Visualizer"],
    # Structures, layers, models.
    "detectron2.structures": [
        "BitMasks",
        "BoxMode",
        "Boxes",
        "ImageList",
        "Instances",
        "PolygonMasks",
        "pairwise_iou",
        "polygons_to_bitmask",
    ],
    "detectron2.layers": [
        "Conv2d",
        "NaiveSyncBatchNorm",
        "ROIAlign",
        "ShapeSpec",
        "batched_nms",
        "get_norm",
        "paste_masks_in_image",
    ],
    "detectron2.modeling": [
        "BACKBONE_REGISTRY",
        "Backbone",
        "FPN",
        "FastRCNNOutputLayers",
        "GeneralizedRCNN",
        "StandardROIHeads",
        "detector_postprocess",
    ],
    "detectron2.modeling.backbone.fpn": ["LastLevelMaxPool"],
    "detectron2.modeling.anchor_generator": ["DefaultAnchorGenerator"],
    "detectron2.modeling.box_regression": ["Box2BoxTransform"],
    "detectron2.modeling.matcher": ["Matcher"],
    "detectron2.modeling.poolers": ["ROIPooler"],
    "detectron2.modeling.proposal_generator": ["RPN", "StandardRPNHead"],
    "detectron2.modeling.roi_heads": [
        "CascadeROIHeads",
        "FastRCNNConvFCHead",
        "FastRCNNOutputLayers",
        "MaskRCNNConvUpsampleHead",
        "StandardROIHeads",
    ],
    "detectron2.modeling.meta_arch": ["GeneralizedRCNN"],
    "detectron2.modeling.postprocessing": ["detector_postprocess"],
    "detectron2.modeling.sampling": ["subsample_labels"],
}

# Arguments that the embedded host leaves out, because none of our code and configs uses them.
LEFT_OUT = {
    "AMPTrainer": {
        "async_write_metrics",
        "gather_metric_period",
        "grad_scaler",
        "log_grad_scaler",
        "precision",
        "zero_grad_before_forward",
    },
    "AugInput": {"sem_seg"},
    "AMPTrainer.write_metrics": {"prefix"},
    "Box2BoxTransform": {"scale_clamp"},
    "COCOEvaluator": {"allow_cached_coco", "kpt_oks_sigmas", "max_dets_per_image", "use_fast_impl"},
    "COCOEvaluator.evaluate": {"img_ids"},
    "DatasetFromList": {"copy", "serialize"},
    "DatasetMapper": {"keypoint_hflip_indices", "precomputed_proposal_topk", "use_keypoint"},
    "EvalHook": {"eval_after_train"},
    "FPN": {"fuse_type", "square_pad"},
    "FastRCNNOutputLayers": {
        "box_reg_loss_type",
        "fed_loss_num_classes",
        "get_fed_loss_cls_weights",
        "loss_weight",
        "smooth_l1_beta",
        "use_fed_loss",
        "use_sigmoid_ce",
    },
    "GeneralizedRCNN": {"vis_period"},
    "ImageList.from_tensors": {"pad_value", "padding_constraints"},
    "JSONWriter": {"window_size"},
    "LRScheduler": {"optimizer"},
    "RPN": {"anchor_boundary_thresh", "box_reg_loss_type", "loss_weight", "smooth_l1_beta"},
    "Resize": {"interp"},
    "ResizeScale": {"interp"},
    "ResizeShortestEdge": {"interp"},
    "SimpleTrainer": {"async_write_metrics", "gather_metric_period", "zero_grad_before_forward"},
    "SimpleTrainer.write_metrics": {"prefix"},
    "StandardROIHeads": {
        "keypoint_head",
        "keypoint_in_features",
        "keypoint_pooler",
        "train_on_pred_boxes",
    },
    "StandardRPNHead": {"box_dim"},
    "TensorboardXWriter": {"window_size"},
    "ToIterableDataset": {"shard_sampler"},
    "VisImage": {"scale"},
    "Visualizer": {"font_size_scale", "instance_mode"},
    "Visualizer.draw_instance_predictions": {"jittering"},
    "Visualizer.overlay_instances": {"keypoints"},
    "WarmupParamScheduler": {"rescale_interval", "warmup_method"},
    "build_detection_train_loader": {"collate_fn"},
    "default_argument_parser": {"epilog"},
    "detector_postprocess": {"mask_threshold"},
    "filter_empty_instances": {"box_threshold", "by_box", "by_mask", "return_mask"},
    "get_detection_dataset_dicts": {"check_consistency", "min_keypoints", "proposal_files"},
    "inference_on_dataset": {"callbacks"},
    "log_every_n_seconds": {"name"},
    "setup_logger": {"abbrev_name", "color", "enable_propagation"},
    "transform_instance_annotations": {"keypoint_hflip_indices"},
}
# Arguments of methods that are abstract in the real host, without the arguments of its subclasses.
ADDED = {"Backbone.forward": {"x"}}

# For every listed class and function: its arguments, its public methods' arguments, and the path
# by which a saved config names it.
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
def _described(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return both_hosts(DESCRIBE, api=API, path=path)


@pytest.fixture
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """(real, embedded): what DESCRIBE finds on each host."""
    return _described(str(tmp_path_factory.getbasetemp() / "described.yaml"))


@pytest.mark.parametrize("module", API)
def test_every_name_exists(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in API[module] if not hasattr(found, name)] == []


@pytest.mark.skipif(mvit_det.host() == "real", reason="is about the embedded host")
@pytest.mark.parametrize("module", API)
def test_nothing_is_exported_beyond_the_list(module: str) -> None:
    found = importlib.import_module(module)
    exported = getattr(found, "__all__", API[module])
    if hasattr(found, "__path__") and not hasattr(found, "__all__"):
        # A package imports nothing but what it exports, beside its own modules.
        exported = [k for k, v in vars(found).items() if k[0] != "_" and not inspect.ismodule(v)]
    assert set(exported) - set(API[module]) == set()


def _difference(name: str, real: dict[str, tuple], ours: dict[str, tuple]) -> list[str]:
    """How the arguments of two functions differ, as lines.

    An argument that one host names may go through the ``**kwargs`` of the other.
    """
    named, open_ended = [], []
    for arguments in (real, ours):
        open_ended.append(any(kind == "VAR_KEYWORD" for kind, _ in arguments.values()))
        named.append({k: v for k, v in arguments.items() if not v[0].startswith("VAR_")})
    missing, added = named[0].keys() - named[1].keys(), named[1].keys() - named[0].keys()
    left_out = LEFT_OUT.get(name, set())
    problems = {k: "LEFT_OUT names it, but it is there" for k in left_out - missing}
    if not open_ended[1]:
        problems |= {k: "is left out" for k in missing - left_out}
    if not open_ended[0]:
        problems |= {k: "is not in the real one" for k in added - ADDED.get(name, set())}
    for key in named[0].keys() & named[1].keys():
        if named[0][key] != named[1][key]:
            problems[key] = f"{named[1][key]} should be {named[0][key]}"
    return [f"{name}({key}): {problem}" for key, problem in problems.items()]


def test_arguments_are_those_of_the_real_host(described: Any) -> None:
    real, ours = described
    assert set(real) == set(ours)
    lines = [
        line
        for name in real
        for line in _difference(
            name.rpartition(".")[2], real[name]["arguments"], ours[name]["arguments"]
        )
    ]
    assert not lines, "\n".join(lines)


def test_methods_are_those_of_the_real_host(described: Any) -> None:
    real, ours = described
    lines = []
    for name, thing in ours.items():
        for method, arguments in thing["methods"].items():
            expected = real[name]["methods"].get(method)
            if expected is None:
                lines.append(f"{name}.{method}: not in the real one")
            else:
                short = name.rpartition(".")[2]
                lines += _difference(f"{short}.{method}", expected, arguments)
    assert not lines, "\n".join(lines)


def test_paths_in_saved_configs_lead_to_the_same_place_on_both_hosts(described: Any) -> None:
    """A config.yaml that one host wrote must load on the other; this host reads both."""
    lost = []
    for host in described:
        for name, thing in host.items():
            targets = all(side[name]["is_target"] for side in described)
            if name == "detectron2.config.instantiate" or not targets:
                continue  # the first shares its path with a module, and is no target either
            module, _, attribute = name.rpartition(".")
            try:
                found = locate(thing["saved_as"])
            except ImportError:
                found = None
            if found != getattr(importlib.import_module(module), attribute):
                lost.append(thing["saved_as"])
    assert not lost, sorted(set(lost))
