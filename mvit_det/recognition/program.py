"""Classifiers and action detectors as functions of tensors alone, which `torch.export` traces."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import nn

from mvit_det.errors import UserError
from mvit_det.recognition.action import ActionDetector
from mvit_det.recognition.recognizer import Recognizer

Tensors = Sequence[torch.Tensor]
Ports = Mapping[str, tuple[str, str, str]]


class ClassifierProgram(nn.Module):
    """Classify images or clips: the probabilities of a `Recognizer`."""

    outputs: ClassVar[Ports] = {"scores": ("float32", "N,K", "probabilities of all classes")}

    def __init__(self, model: Recognizer):
        super().__init__()
        self.model = deepcopy(model)
        self.unchanged = [model]  # in a list: no part of this module
        self.inputs: Ports = {"inputs": ("float32", _axes(model.backbone), "normalised, RGB")}

    def example_shape(self, size: Sequence[int] | None) -> tuple[int, ...]:
        """Return the shape of one image or clip to trace with."""
        return 3, *self.model.backbone.input_size[:-2], *(size or _wide(self.model.backbone))

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor]:
        """Classify (N, 3, H, W) or (N, 3, T, H, W)."""
        return (self.model({"inputs": inputs}),)

    def networks(self) -> list[nn.Module]:
        """Return the parts that may compute in half precision."""
        return [self.model.backbone.patch_embed, *self.model.backbone.blocks]

    def reference(
        self, batch: Mapping[str, Any], inputs: Ports | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return what the model gives as ``outputs``."""
        return (self.unchanged[0]({"inputs": self.encode(batch, self.inputs)[0]}),)

    @staticmethod
    def encode(batch: Mapping[str, Any], inputs: Ports) -> tuple[torch.Tensor, ...]:
        """Convert the model's input to that of the program: views become rows.

        Raises:
            UserError: it has not the fixed size of the program.
        """
        clips = batch["inputs"]
        _check_size(clips, inputs)
        has_views = clips.ndim > len(inputs["inputs"][1].split(","))
        return (clips.flatten(0, 1) if has_views else clips,)

    @staticmethod
    def decode(outputs: Tensors, batch: Mapping[str, Any]) -> torch.Tensor:
        """Convert the program's output to the model's: rows become views."""
        (scores,), clips = outputs, batch["inputs"]
        has_views = clips.shape[1] != 3 or len(scores) != len(clips)
        return scores.unflatten(0, clips.shape[:2]) if has_views else scores

    def nearby(self, batch: Mapping[str, Any], inputs: Ports) -> tuple:
        """Return no further outputs: nothing here is cut."""
        return ()

    def compare(
        self, expected: Tensors, found: Tensors, nearby: Callable[[], Iterable[Tensors]] = tuple
    ) -> dict[str, float]:
        """Return the largest difference of scores, relative to the largest score."""
        return {"scores": float((found[0] - expected[0]).abs().max() / expected[0].abs().max())}


class ActionProgram(nn.Module):
    """Detect the actions in given boxes of clips: the probabilities of an `ActionDetector`."""

    outputs: ClassVar[Ports] = {
        "scores": ("float32", "M,K", "independent probabilities of all actions")
    }

    def __init__(self, model: ActionDetector):
        super().__init__()
        self.model = deepcopy(model)
        self.unchanged = [model]  # in a list: no part of this module
        self.inputs: Ports = {
            "inputs": ("float32", _axes(model.backbone), "normalised, RGB"),
            "boxes": ("float32", "M,4", "x1, y1, x2, y2 in pixels of the clip"),
            "clip": ("int64", "M", "index of the clip of each box"),
        }

    def example_shape(self, size: Sequence[int] | None) -> tuple[int, ...]:
        """Return the shape of one clip to trace with."""
        return 3, *self.model.backbone.input_size[:-2], *(size or _wide(self.model.backbone))

    def forward(
        self, inputs: torch.Tensor, boxes: torch.Tensor, clip: torch.Tensor
    ) -> tuple[torch.Tensor]:
        """Detect actions; see ``inputs``."""
        rows = torch.cat([clip[:, None].to(boxes.dtype), boxes], dim=1)
        return (self.model.head(self.model.features(inputs, rows)).float().sigmoid(),)

    def reference(
        self, batch: Mapping[str, Any], inputs: Ports | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return what the model gives as ``outputs``."""
        return (torch.cat(self.unchanged[0](batch)),)

    @staticmethod
    def encode(batch: Mapping[str, Any], inputs: Ports) -> tuple[torch.Tensor, ...]:
        """Convert the model's input to that of the program: one list of boxes for all clips.

        Raises:
            UserError: it has not the fixed size of the program.
        """
        _check_size(batch["inputs"], inputs)
        boxes = batch["boxes"]
        clip = torch.cat([torch.full((len(part),), i) for i, part in enumerate(boxes)])
        return batch["inputs"], torch.cat(list(boxes)), clip

    @staticmethod
    def decode(outputs: Tensors, batch: Mapping[str, Any]) -> list[torch.Tensor]:
        """Convert the program's output to the model's: the scores of each clip."""
        return list(outputs[0].split([len(part) for part in batch["boxes"]]))

    nearby = ClassifierProgram.nearby
    compare = ClassifierProgram.compare
    networks = ClassifierProgram.networks


def _axes(backbone: Any) -> str:
    sizes = backbone.input_size
    return "N,3,H,W" if len(sizes) == 2 else f"N,3,{sizes[0]},H,W"


def _wide(backbone: Any) -> tuple[int, int]:
    """Return a size to trace with: not square, and no map is one token high or wide.

    The tracer would take a 1 for a size that is broadcast.
    """
    sides = zip(backbone.input_size[-2:], backbone.out_stride[-2:])
    height, width = (max(side, 4 * stride) for side, stride in sides)
    return height + 32, width + 96


def _check_size(clips: torch.Tensor, inputs: Ports) -> None:
    fixed, size = inputs["inputs"][1].split(",")[-2:], [*clips.shape[-2:]]
    if fixed[0].isdigit() and size != [*map(int, fixed)]:
        raise UserError(
            f"Inputs of {size[0]} x {size[1]} pixels, as the config prepares them, do not fit the "
            f"{fixed[0]} x {fixed[1]} that the model is exported for: export it without --size, or "
            f"with --size {size[0]} {size[1]}."
        )
