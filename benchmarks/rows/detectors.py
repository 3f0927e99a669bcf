"""Whole detectors: inference, training step, and testing in several views."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import nn

from rows import Options, Row
from rows.networks import autocast, kind, without_chance

CONFIGS = {"mask-rcnn": "mask_rcnn_mvitv2_t_3x", "cascade": "cascade_mask_rcnn_mvitv2_t_3x"}
TITLES = {"mask-rcnn": "Mask R-CNN T", "cascade": "Cascade Mask R-CNN T"}
VIEWS = "cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep_multiscale"
TEST, STEP, PHOTOGRAPH = (800, 1280), (640, 640), (480, 640)  # height and width
QUICK, QUICK_SIDES = (96, 128), [64, 96]
# With random weights all classes of a box would score alike, below the threshold, and no box would
# get to the NMS and the mask head. With these, some thousand boxes are above it.
GAIN, BACKGROUND = 8.0, 7.0


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for name, config in CONFIGS.items():
        for step in (False, True):
            height, width = STEP if step else TEST
            what = f"{TITLES[name]}, 1 x {height} x {width}, {kind(step)}"
            build = partial(detector_runs, config, step)
            yield Row(name + "-step" * step, what, "Detectron2", "detectron2", build)
    what = "Mask R-CNN T, 480 x 640 in 18 views (400 to 1200 pixels, mirrored)"
    yield Row("views", what, "Detectron2's TTA", "detectron2", _views, named=True)


def build_pair(config: str, side: str, quick: bool = False) -> tuple[Any, nn.Module]:
    """Build the config and the detector of a side: Detectron2's own classes, or ours."""
    import mvit_det
    from mvit_det.benchmark.subjects import build_module

    cfg = mvit_det.get_config(config)
    if quick:
        cfg.model.proposal_generator.post_nms_topk = (50, 50)
        cfg.model.roi_heads.batch_size_per_image = 32
    model: Any = build_module(cfg, "model", fused=True)
    heads = model.roi_heads.box_predictor
    with torch.no_grad():
        for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
            head.cls_score.weight *= GAIN
            head.cls_score.bias[-1] = BACKGROUND
    return cfg, model if side == "ours" else detectron2_model(cfg, model)


def detectron2_model(cfg: Any, ours: Any) -> nn.Module:
    """Build Detectron2's detector, with its own MViT, from the config and weights of ours."""
    import detectron2.modeling
    from detectron2.config import instantiate

    from mvit_det.benchmark.subjects import build_detectron2_mvit

    node = deepcopy(cfg.model)
    node["_target_"] = detectron2.modeling.GeneralizedRCNN
    theirs = instantiate(node)
    theirs.backbone.bottom_up = build_detectron2_mvit(cfg, ours.backbone.bottom_up)
    theirs.load_state_dict(ours.state_dict())
    return theirs


def detector_runs(config: str, step: bool, side: str, options: Options) -> Callable[[], Any]:
    """Return a function that runs inference, or a training step, once.

    It returns boxes, scores and classes, or the losses. With ``options.compiled``, backbone and
    pyramid are compiled: the shapes of the rest differ from image to image.
    """
    from detectron2.utils.events import EventStorage

    from mvit_det.tasks import task_of

    cfg, model = build_pair(config, side, options.quick)
    model = without_chance(model, step, options.device)
    if options.compiled:
        model.backbone.compile(backend="eager" if options.quick else "inductor")
    torch.manual_seed(1)
    size = QUICK if options.quick else STEP if step else TEST
    device = torch.device(options.device)
    inputs = task_of(cfg).random_inputs(model, [1, 3, *size], device)[step]

    def run() -> Any:
        with torch.set_grad_enabled(step), EventStorage(), autocast(options):
            outputs = model(inputs)
        if not step:
            return _numbers(outputs)
        losses = [outputs[name] for name in sorted(outputs)]
        sum(losses).backward()
        model.zero_grad(set_to_none=True)
        return [loss.detach() for loss in losses]

    return run


def _numbers(outputs: list[dict]) -> list[torch.Tensor]:
    found = outputs[0]["instances"]
    return [found.pred_boxes.tensor, found.scores, found.pred_classes]


def _views(side: str, options: Options) -> Callable[[], Any]:
    """Return a function that tests one photograph in the views of the released config.

    Both sides select by plain NMS, since Detectron2 has no Soft-NMS. Detectron2 selects within each
    view and then among all of them, ours once, so that results differ.
    """
    import mvit_det

    _, model = build_pair(CONFIGS["mask-rcnn"], side, options.quick)
    settings = mvit_det.get_config(VIEWS).model
    sides = QUICK_SIDES if options.quick else list(settings.test_short_sides)
    network: Any = without_chance(model, False, options.device)
    if side == "ours":
        network.test_short_sides, network.test_flip = tuple(sides), settings.test_flip
        network.test_max_size = settings.test_max_size
    else:
        from detectron2.config import get_cfg
        from detectron2.modeling import DatasetMapperTTA, GeneralizedRCNNWithTTA

        cfg = get_cfg()
        cfg.MODEL.MASK_ON = True
        mapper = DatasetMapperTTA(sides, settings.test_max_size, settings.test_flip)
        network = GeneralizedRCNNWithTTA(cfg, network, mapper)
    height, width = QUICK if options.quick else PHOTOGRAPH
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    inputs = [{"image": image, "height": height, "width": width}]

    def run() -> None:
        with torch.no_grad(), autocast(options):
            network(inputs)

    return run
