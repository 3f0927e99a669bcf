"""Count the parameters and FLOPs of a model, in total and per part."""

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import torch
from detectron2.modeling import Backbone
from detectron2.structures import Instances
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import elementwise_flop_counter
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mvit_det.benchmark.subjects import make_inputs
from mvit_det.tasks import Task
from mvit_det.tasks.random_inputs import random_boxes

# Boxes per image in the box head and in the mask head, as in the paper's Table 5.
PROPOSALS, DETECTIONS = 1000, 100
CONVENTION = (
    "for one image or clip; 1 multiply-add = 1 FLOP; attention at its mathematical cost; heads of "
    f"a detector on {PROPOSALS} proposals and {DETECTIONS} detections, of actions on one box"
)
# Free by convention: elementwise operations, comparisons, pooling, and moving or making data.
FREE = set(
    """add all amax any argsort atleast_1d cartesian_prod div exp flip gelu isfinite log2 max_pool2d
    max_pool3d mean meshgrid min movedim mul ne neg nonzero_numpy numpy_T pad repeat
    repeat_interleave roll rsub sigmoid softmax sort sqrt sub sum topk unflatten upsample_bicubic2d
    upsample_bilinear2d upsample_linear1d upsample_trilinear3d PythonOp._SplitWindows
    PythonOp._MergeWindows""".split()
)
# The same as ATen operations on meta tensors, and views.
FREE |= set(
    """_softmax _to_copy _unsafe_view alias arange cat clone constant_pad_nd copy_ detach empty
    empty_like expand fill_ full full_like index max_pool2d_with_indices max_pool3d_with_indices
    new_empty ones permute select slice split split_with_sizes squeeze stack t transpose unbind
    unsqueeze view zeros""".split()
)
NORM = 5  # FLOPs per element of an affine layer norm, as fvcore has it


@torch.no_grad()
def count(model: nn.Module, task: Task, shape: Sequence[int]) -> dict[str, Any]:
    """Count parameters and FLOPs in total and per part, and list operations without a count.

    Args:
        model: a model of the task, or a bare backbone; with plain attention, whose products are
            counted. It may be on the meta device, unless its task has two stages.
        task: creates the random inputs.
        shape: input shape (B, 3, [T,] H, W); one sample is counted.

    Returns:
        ``parameters``, ``flops`` (1 multiply-add = 1 FLOP), ``parts``: name -> both, and
        ``not_counted``: operation -> number of calls.
    """
    model.eval()
    sizes = {name: count_parameters(part) for name, part in model.named_children()}
    is_backbone = isinstance(model, Backbone)
    by_shapes = not (is_backbone or task.two_stages)
    device = "meta" if by_shapes else next(model.parameters()).device
    inputs, _ = make_inputs(model, task, [1, *shape[1:]], torch.device(device))
    if by_shapes:
        total, flops, calls = count_by_shapes(model, inputs)
    else:
        if not is_backbone:
            analyses = analyse_detector(model, inputs)
            flops = {name: analysis.total() for name, analysis in analyses.items()}
            heads: Any = model.roi_heads
            sizes["mask head"] = count_parameters(heads.mask_head) if heads.mask_on else 0
            sizes["box head"] = sizes["roi_heads"] - sizes["mask head"]
        else:
            analyses = {"model": analyse(lambda net, x: net(x).values(), model, inputs)}
            flops = {name: analyses["model"].total(f"module.{name}") for name in sizes}
        total = sum(analysis.total() for analysis in analyses.values())
        calls = sum((analysis.unsupported_ops() for analysis in analyses.values()), Counter())
    not_counted = {name: n for name, n in calls.items() if name.split("::")[-1] not in FREE}
    if "prim::CallFunction" in not_counted:  # functions that are compiled while the tracer runs
        not_counted["compiled functions such as nms"] = not_counted.pop("prim::CallFunction")
    return {
        "parameters": count_parameters(model),
        "flops": total,
        "parts": {name: {"parameters": sizes[name], "flops": flops[name]} for name in flops},
        "not_counted": not_counted,
    }


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def analyse_detector(model: Any, inputs: list[dict]) -> dict[str, FlopCountAnalysis]:
    """Analyse the parts of a two-stage detector, with fixed numbers of boxes for the heads.

    With random weights, the number of boxes that the detector itself would find is arbitrary.
    """
    images = model.preprocess_image(inputs)
    pyramid = model.backbone(images.tensor)
    names, maps = tuple(pyramid), tuple(pyramid.values())
    size, device = images.image_sizes[0], images.tensor.device
    proposals = Instances(size, proposal_boxes=random_boxes(PROPOSALS, size)).to(device)
    classes = torch.zeros(DETECTIONS, dtype=torch.long)
    boxes = random_boxes(DETECTIONS, size)
    detections = Instances(size, pred_boxes=boxes, pred_classes=classes).to(device)

    def predict_proposals(generator, *maps):
        return [x.proposal_boxes.tensor for x in generator(images, dict(zip(names, maps)))[0]]

    def predict_boxes(heads, *maps):
        heads.mask_on, mask_on = False, heads.mask_on
        results, _ = heads(images, dict(zip(names, maps)), [proposals])
        heads.mask_on = mask_on
        return [x.scores for x in results]

    def predict_masks(heads, *maps):
        results = heads.forward_with_given_boxes(dict(zip(names, maps)), [detections])
        return [x.pred_masks for x in results]

    analyses = {
        "backbone": analyse(lambda net, x: net(x).values(), model.backbone, images.tensor),
        "proposal_generator": analyse(predict_proposals, model.proposal_generator, *maps),
        "box head": analyse(predict_boxes, model.roi_heads, *maps),
    }
    if model.roi_heads.mask_on:
        analyses["mask head"] = analyse(predict_masks, model.roi_heads, *maps)
    return analyses


class FunctionModule(nn.Module):
    """Wraps a function of a module and tensors as a module, the only thing that fvcore traces."""

    def __init__(self, function: Callable[..., Iterable[torch.Tensor]], module: nn.Module):
        super().__init__()
        self.function = function
        self.module = module

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tensors of ``function(module, *tensors)``."""
        return tuple(self.function(self.module, *tensors))


def count_by_shapes(model: nn.Module, inputs: Any) -> tuple[int, dict[str, int], Counter[str]]:
    """Count FLOPs of a model in evaluation and of its parts, and calls without a count.

    Nothing is computed, since meta tensors have only shapes: the trillions of FLOPs of a long clip
    take seconds to count, and no memory.

    Returns:
        FLOPs in total (1 multiply-add = 1 FLOP), FLOPs by child module, and operation -> calls.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    meta = {f"module.{name}": x.detach().to("meta") for name, x in tensors.items()}
    norm = {torch.ops.aten.native_layer_norm: lambda x, *_, **__: 2 * NORM * math.prod(x)}
    # FlopCounterMode counts a multiply-add as two.
    counter = FlopCounterMode(display=False, custom_mapping=norm)
    with CallRecorder(counter.flop_registry) as recorder, counter:
        functional_call(FunctionModule(lambda net: net(inputs), model), meta, ())
    flops = {name: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}
    total = flops.pop("Global", 0)
    prefix = "FunctionModule.module."
    by_module = {name.removeprefix(prefix): n for name, n in flops.items() if "." in name}
    # Where a backbone is not called itself, its parts are.
    outermost = {
        name: n
        for name, n in by_module.items()
        if not any(name.startswith(f"{parent}.") for parent in by_module)
    }
    parts = {
        child: sum(n for name, n in outermost.items() if f"{name}.".startswith(f"{child}."))
        for child, _ in model.named_children()
    }
    return total, parts, recorder.calls


class CallRecorder(TorchDispatchMode):
    """Records calls that have no formula in ``counted``, except elementwise operations."""

    def __init__(self, counted: Container):
        super().__init__()
        self.counted = counted
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        packet = operation.overloadpacket
        if packet not in self.counted and torch.Tag.pointwise not in operation.tags:
            self.calls[str(packet).replace(".", "::")] += 1
        return operation(*args, **(kwargs or {}))


def analyse(
    function: Callable[..., Iterable[torch.Tensor]], module: nn.Module, *tensors: torch.Tensor
) -> FlopCountAnalysis:
    """Analyse FLOPs of ``function(module, *tensors)``; the module's parts are ``module.*``."""
    analysis = FlopCountAnalysis(FunctionModule(function, module), tensors)
    # replaces fvcore's own count, which refuses the six axes of clips
    analysis.set_op_handle("aten::layer_norm", elementwise_flop_counter(0, NORM))
    analysis.tracer_warnings("none").unsupported_ops_warnings(False)
    return analysis.uncalled_modules_warnings(False)
