"""Backbones, classifiers and whole detectors: inference and training steps."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from rows import Options, Row

DETECTION = "mask_rcnn_mvitv2_t_3x"
# row -> (height and width, batch, training step)
BACKBONES = {
    "backbone-1024": (1024, 1, False),
    "backbone-640-step": (640, 1, True),
}


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for name, (size, batch, step) in BACKBONES.items():
        what = f"backbone T, {batch} x {size} x {size}, {'training step' if step else 'inference'}"
        build = partial(_backbone, size, batch, step)
        yield Row(name, what, "Detectron2", "detectron2._C", build)
    for name, step in (("classifier", False), ("classifier-step", True)):
        what = f"classifier T, 8 x 224 x 224, {'training step' if step else 'inference'}"
        yield Row(name, what, "timm", "timm", partial(_classifier, step))
    for name, step in (("video", False), ("video-step", True)):
        what = f"classifier S 16x4 of clips, 1 x 16 x 224 x 224, {'step' if step else 'inference'}"
        yield Row(name, what, "torchvision", "torchvision", partial(_video, step))


def _backbone(size: int, batch: int, step: bool, side: str, options: Options) -> Callable[[], Any]:
    import mvit_det
    from mvit_det.benchmark.subjects import build_detectron2_mvit, build_module

    cfg = mvit_det.get_config(DETECTION)
    network = build_module(cfg, "model.backbone.bottom_up", fused=True)
    if side == "peer":
        theirs = build_detectron2_mvit(cfg, network)
        assert theirs is not None, "this Detectron2 has no MViT"
        network = theirs
    return _runs(network, torch.randn(batch, 3, size, size), step, options)


def _classifier(step: bool, side: str, options: Options) -> Callable[[], Any]:
    if side == "peer":
        import timm

        network = timm.create_model("mvitv2_tiny", num_classes=1000)
    else:
        network = _Inputs(_recognizer("imagenet/mvitv2_t_in1k"))
    return _runs(network, torch.randn(8, 3, 224, 224), step, options)


def _video(step: bool, side: str, options: Options) -> Callable[[], Any]:
    if side == "peer":
        from torchvision.models.video import mvit_v2_s

        network = mvit_v2_s()
    else:
        network = _Inputs(_recognizer("kinetics/mvitv2_s_16x4_k400"))
    return _runs(network, torch.randn(1, 3, 16, 224, 224), step, options)


def _recognizer(config: str) -> nn.Module:
    import mvit_det
    from mvit_det.benchmark.subjects import build_module

    return build_module(mvit_det.get_config(config), "model", fused=True)


class _Inputs(nn.Module):
    """Our recognizer with the interface of the peers: inputs to logits."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model: Any = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        return self.model.logits(x)


def _runs(network: nn.Module, x: torch.Tensor, step: bool, options: Options) -> Callable[[], Any]:
    """Return a function that runs inference, or a training step, once."""
    network, x = network.to(options.device).train(step), x.to(options.device)
    for module in network.modules():  # which skip work at random
        if type(module).__name__ in ("DropPath", "StochasticDepth", "Dropout"):
            module.eval()
    function: Callable = torch.compile(network) if options.compiled else network
    half = options.precision != "float32"
    dtype = getattr(torch, options.precision)

    def run() -> None:
        with (
            torch.set_grad_enabled(step),
            torch.autocast(options.device, dtype=dtype if half else None, enabled=half),
        ):
            outputs = function(x)
        if step:
            outputs = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
            torch.autograd.backward(outputs, [torch.ones_like(each) for each in outputs])
            network.zero_grad(set_to_none=True)
        if options.device == "cuda":
            torch.cuda.synchronize()

    return run
