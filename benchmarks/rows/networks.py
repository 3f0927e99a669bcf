"""Backbones and classifiers: inference and training steps."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mvit_det import precision
from rows import Options, Row

DETECTION = "mask_rcnn_mvitv2_{}_3x"
# row -> (variant, height and width, training step)
BACKBONES = {
    "backbone-1024": ("t", 1024, False),
    "backbone-640-step": ("t", 640, True),
    "backbone-b-1024": ("b", 1024, False),
    "backbone-b-640-step": ("b", 640, True),
}
# row -> (config, its name in timm, batch)
CLASSIFIERS = {
    "classifier": ("imagenet/mvitv2_t_in1k", "mvitv2_tiny", 8),
    "classifier-s": ("imagenet/mvitv2_s_in1k", "mvitv2_small", 8),
    "classifier-b": ("imagenet/mvitv2_b_in1k", "mvitv2_base", 8),
    "classifier-l": ("imagenet/mvitv2_l_in1k", "mvitv2_large", 2),
}
# row -> (config, variant, frames)
VIDEOS = {
    "video": ("kinetics/mvitv2_s_16x4_k400", "S", 16),
    "video-b": ("kinetics/mvitv2_b_32x3_k400", "B", 32),
}
NAMED = {"backbone-b-1024", "backbone-b-640-step"} | CLASSIFIERS.keys() | VIDEOS.keys()
NAMED -= {"classifier", "video"}
QUICK = 64  # height and width of a backbone's image


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for name, (variant, size, step) in BACKBONES.items():
        what = f"backbone {variant.upper()}, 1 x {size} x {size}, {kind(step)}"
        build = partial(_build, backbone_pair, (variant, size), step)
        yield Row(name, what, "Detectron2", "detectron2", build, named=name in NAMED)
    for name, (config, theirs, batch) in CLASSIFIERS.items():
        what = f"classifier {theirs[7].upper()}, {batch} x 224 x 224"
        yield from _both(name, what, "timm", classifier_pair, (config, theirs, batch))
    for name, (config, variant, frames) in VIDEOS.items():
        what = f"classifier {variant} of clips, 1 x {frames} x 224 x 224"
        yield from _both(name, what, "torchvision", video_pair, (config, variant, frames))


def _both(
    name: str, what: str, peer: str, pair: Callable[..., Any], arguments: tuple
) -> Iterator[Row]:
    """Yield the rows of inference and training step."""
    for step in (False, True):
        title, text = name + "-step" * step, f"{what}, {kind(step)}"
        build = partial(_build, pair, arguments, step)
        yield Row(title, text, peer, peer, build, named=name in NAMED)


def kind(step: bool) -> str:
    """Describe what is run."""
    return "training step" if step else "inference"


def _build(
    pair: Callable[..., tuple[nn.Module, torch.Tensor]],
    arguments: tuple,
    step: bool,
    side: str,
    options: Options,
) -> Callable[[], Any]:
    network, x = pair(*arguments, side=side, options=options)
    return runs(network, x, step, options)


def backbone_pair(
    variant: str, size: int, side: str, options: Options
) -> tuple[nn.Module, torch.Tensor]:
    """Build the detection backbone of a side, and its input."""
    import mvit_det
    from mvit_det.benchmark.subjects import build_detectron2_mvit, build_module

    cfg = mvit_det.get_config(DETECTION.format(variant))
    network = build_module(cfg, "model.backbone.bottom_up", fused=True)
    if side == "peer":
        theirs = build_detectron2_mvit(cfg, network)
        assert theirs is not None, "this Detectron2 has no MViT"
        network = theirs
    side_length = QUICK if options.quick else size
    return network, fixed_input(1, 3, side_length, side_length)


def classifier_pair(
    config: str, theirs: str, batch: int, side: str, options: Options
) -> tuple[nn.Module, torch.Tensor]:
    """Build the classifier of images of a side, and its input."""
    network: nn.Module = _Inputs(ours := _recognizer(config))
    if side == "peer":
        import timm

        network = timm.create_model(theirs, num_classes=1000)
        network.load_state_dict(_translate(ours, "timm"))
    return network, fixed_input(1 if options.quick else batch, 3, 224, 224)


def video_pair(
    config: str, variant: str, frames: int, side: str, options: Options
) -> tuple[nn.Module, torch.Tensor]:
    """Build the classifier of clips of a side, and its input."""
    network: nn.Module = _Inputs(ours := _recognizer(config))
    if side == "peer":
        network = _torchvision(variant, frames)
        network.load_state_dict(_translate(ours, "torchvision"))
    return network, fixed_input(1, 3, frames, 224, 224)


def _torchvision(variant: str, frames: int) -> nn.Module:
    """Build torchvision's network for clips: its ``mvit_v2_s``, or the same with another depth."""
    from torchvision.models.video import MViT
    from torchvision.models.video.mvit import MSBlockConfig

    from mvit_det.backbone import VARIANTS, multiscale_plan
    from mvit_det.recognition import CLIP_ARGUMENTS

    plan = multiscale_plan(
        embed_dim=96,
        num_heads=1,
        last_block_indexes=VARIANTS[variant].last_block_indexes,
        grid=(frames // 2, 56, 56),
        stride_kv=CLIP_ARGUMENTS["adaptive_kv_stride"],
    )
    blocks = [
        MSBlockConfig(b.num_heads, b.dim_in, b.dim_out, [3] * 3, [3] * 3, b.stride_q, b.stride_kv)
        for b in plan
    ]
    return MViT(
        (224, 224),
        frames,
        blocks,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
    )


def _recognizer(config: str) -> nn.Module:
    import mvit_det
    from mvit_det.benchmark.subjects import build_module

    return build_module(mvit_det.get_config(config), "model", fused=True)


def _translate(ours: nn.Module, target: str) -> dict[str, torch.Tensor]:
    """Translate the weights of a recognizer into another code base's names and shapes."""
    from mvit_det.checkpoint import read_weights
    from mvit_det.checkpoint.converting import translate

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.pth"
        torch.save({"model": ours.state_dict()}, path)
        return translate(read_weights(path), target)[0]


class _Inputs(nn.Module):
    """Our recognizer with the interface of the peers: inputs to logits."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model: Any = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        return self.model.logits(x)


def fixed_input(*shape: int) -> torch.Tensor:
    """Draw the same input for both sides, whatever has been drawn before."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def without_chance(network: nn.Module, step: bool, device: str) -> nn.Module:
    """Move a network to the device, in its mode, without what skips work at random."""
    network = network.to(device).train(step)
    for module in network.modules():
        if type(module).__name__ in ("DropPath", "StochasticDepth", "Dropout"):
            module.eval()
    return network


def autocast(options: Options) -> AbstractContextManager[Any]:
    """Return the context of a precision."""
    return precision.autocast(getattr(torch, options.precision), options.device)


def runs(network: nn.Module, x: torch.Tensor, step: bool, options: Options) -> Callable[[], Any]:
    """Return a function that runs inference, or a training step, once, and returns the outputs."""
    network, x = without_chance(network, step, options.device), x.to(options.device)
    function: Callable = network
    if options.compiled:  # quick: without code that takes long to generate
        function = torch.compile(network, backend="eager" if options.quick else "inductor")

    def run() -> Any:
        with torch.set_grad_enabled(step), autocast(options):
            outputs = function(x)
        outputs = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
        if step:
            torch.autograd.backward(outputs, [torch.ones_like(each) for each in outputs])
            network.zero_grad(set_to_none=True)
        return [each.detach() for each in outputs]

    return run
