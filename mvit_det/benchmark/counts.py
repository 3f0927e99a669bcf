"""Parameters and FLOPs, part by part."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from detectron2.structures import Instances
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import elementwise_flop_counter
from torch import nn

from mvit_det.benchmark.subjects import is_detector, is_recognizer, random_boxes

# Boxes per image that the box head and the mask head see in the paper's Table 5.
PROPOSALS, DETECTIONS = 1000, 100
CONVENTION = (
    "for one image or clip; 1 multiply-add = 1 FLOP; attention at its mathematical cost; heads of "
    f"a detector on {PROPOSALS} proposals and {DETECTIONS} detections"
)
# Free by convention: elementwise operations, comparisons, pooling, and moving or making data.
FREE = set(
    """add all any argsort atleast_1d cartesian_prod div exp flip gelu isfinite log2 max_pool2d
    max_pool3d mean meshgrid min movedim mul nonzero_numpy numpy_T repeat repeat_interleave
    sigmoid softmax sort sqrt sub topk unflatten upsample_linear1d PythonOp._SplitWindows
    PythonOp._MergeWindows""".split()
)


@torch.no_grad()
def count(model: nn.Module, inputs: Any) -> dict[str, Any]:
    """Parameters and FLOPs in all and of each part, and operations that no count exists for.

    Args:
        model: a detector, recognizer or backbone; with plain attention, which fvcore knows.
        inputs: from ``make_inputs``, for evaluation; the first one is counted.
    """
    model.eval()
    sizes = {name: size_of(part) for name, part in model.named_children()}
    if is_detector(model):
        analyses = analyse_detector(model, inputs[:1])
        flops = {name: analysis.total() for name, analysis in analyses.items()}
        sizes["mask head"] = size_of(model.roi_heads.mask_head) if model.roi_heads.mask_on else 0
        sizes["box head"] = sizes["roi_heads"] - sizes["mask head"]
    else:
        if is_recognizer(model):
            analysis = analyse(lambda net, x: [net.logits(x)], model, inputs["inputs"][:1])
        else:
            analysis = analyse(lambda net, x: net(x).values(), model, inputs[:1])
        analyses = {"model": analysis}
        flops = {name: analysis.total(f"module.{name}") for name in sizes}
    unknown = sum((analysis.unsupported_ops() for analysis in analyses.values()), Counter())
    unknown = {name: n for name, n in unknown.items() if name.split("::")[-1] not in FREE}
    if "prim::CallFunction" in unknown:  # what is compiled while the tracer runs
        unknown["compiled functions such as nms"] = unknown.pop("prim::CallFunction")
    return {
        "parameters": size_of(model),
        "flops": sum(analysis.total() for analysis in analyses.values()),
        "parts": {name: {"parameters": sizes[name], "flops": flops[name]} for name in flops},
        "not_counted": unknown,
    }


def size_of(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def analyse_detector(model: nn.Module, inputs: list[dict]) -> dict[str, FlopCountAnalysis]:
    """The parts of a detector one by one, the heads on as many boxes as the convention says.

    How many would come by themselves hangs on the weights, which are random.
    """
    images = model.preprocess_image(inputs)
    pyramid = model.backbone(images.tensor)
    names, maps = tuple(pyramid), tuple(pyramid.values())
    size, device = images.image_sizes[0], images.tensor.device
    proposals = Instances(size, proposal_boxes=random_boxes(PROPOSALS, size)).to(device)
    detections = Instances(size, pred_boxes=random_boxes(DETECTIONS, size)).to(device)
    detections.pred_classes = torch.zeros(DETECTIONS, dtype=torch.long, device=device)

    def propose(generator, *maps):
        return [x.proposal_boxes.tensor for x in generator(images, dict(zip(names, maps)))[0]]

    def detect(heads, *maps):
        heads.mask_on, mask_on = False, heads.mask_on
        results, _ = heads(images, dict(zip(names, maps)), [proposals])
        heads.mask_on = mask_on
        return [x.scores for x in results]

    def outline(heads, *maps):
        results = heads.forward_with_given_boxes(dict(zip(names, maps)), [detections])
        return [x.pred_masks for x in results]

    analyses = {
        "backbone": analyse(lambda net, x: net(x).values(), model.backbone, images.tensor),
        "proposal_generator": analyse(propose, model.proposal_generator, *maps),
        "box head": analyse(detect, model.roi_heads, *maps),
    }
    if model.roi_heads.mask_on:
        analyses["mask head"] = analyse(outline, model.roi_heads, *maps)
    return analyses


class Traced(nn.Module):
    """A function of a module and tensors, as a module: fvcore traces nothing else."""

    def __init__(self, function: Callable[..., Iterable[torch.Tensor]], module: nn.Module):
        super().__init__()
        self.function = function
        self.module = module

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Tensors in, tensors out."""
        return tuple(self.function(self.module, *tensors))


def analyse(
    function: Callable[..., Iterable[torch.Tensor]], module: nn.Module, *tensors: torch.Tensor
) -> FlopCountAnalysis:
    """FLOPs of ``function(module, *tensors)``; parts of the module are named ``module.*``."""
    analysis = FlopCountAnalysis(Traced(function, module), tensors)
    # fvcore's own count, which refuses the six axes of clips: 5 per element of an affine norm
    analysis.set_op_handle("aten::layer_norm", elementwise_flop_counter(0, 5))
    analysis.tracer_warnings("none").unsupported_ops_warnings(False)
    return analysis.uncalled_modules_warnings(False)
