"""The classifier of images and clips: tokens, norm, readout, linear layer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mvit_det.recognition.backbone import ClassifierMViT

READOUTS = ("class_token", "mean", "mean_before_norm")


class Recognizer(nn.Module):
    """Classify images or clips with the readout and head of the released classifiers.

    Args:
        backbone: computes the tokens.
        num_classes: outputs of the head.
        readout: ``"class_token"``; ``"mean"`` of all other tokens, after the norm; or
            ``"mean_before_norm"``, as in models fine-tuned from MaskFeat. None for the class token
            if the backbone has one, else the mean.
        norm_layer: builds the last norm from its width.
        head_dropout: probability of dropout before the linear layer (0.5 for video).
        head_init_scale: factor on the initial weights of the linear layer (0.001 for MaskFeat).
        max_views: largest number of views that go through the network at once in evaluation, which
            bounds its memory; None for all views of a batch.
        pyslowfast_init: initialise like the released video code, not like that for images: see
            `init_like_pyslowfast`.

    Raises:
        ValueError: ``readout`` does not suit the backbone, or ``max_views`` is less than 1.
    """

    def __init__(
        self,
        backbone: ClassifierMViT,
        num_classes: int,
        *,
        readout: str | None = None,
        norm_layer: Callable[[int], nn.Module] = partial(nn.LayerNorm, eps=1e-6),
        head_dropout: float = 0.0,
        head_init_scale: float = 1.0,
        max_views: int | None = None,
        pyslowfast_init: bool = False,
    ):
        super().__init__()
        if max_views is not None and max_views < 1:
            raise ValueError(f"max_views={max_views} must be 1 or more, or None for no limit.")
        has_class_token = backbone.cls_token is not None
        if readout is None:
            readout = "class_token" if has_class_token else "mean"
        if readout not in READOUTS or (readout == "class_token" and not has_class_token):
            choices = READOUTS if has_class_token else READOUTS[1:]
            raise ValueError(
                f"readout={readout!r} is not possible with class_token={has_class_token} of the "
                f"backbone: use one of {', '.join(choices)}."
            )
        self.backbone = backbone
        self.num_classes = num_classes
        self.readout = readout
        self.max_views = max_views
        self.norm = norm_layer(backbone.out_channels)
        self.head = ClassificationHead(
            backbone.out_channels, num_classes, head_dropout, head_init_scale
        )
        if pyslowfast_init:
            init_like_pyslowfast(self)

    def forward(self, batch: dict[str, Any]) -> dict[str, torch.Tensor] | torch.Tensor:
        """Compute losses in training, probabilities in evaluation.

        Args:
            batch: ``inputs`` (B, 3, H, W) or (B, 3, T, H, W), normalised, in evaluation also
                (B, V, 3, ...) with V views each (clips of a video, crops of a clip); in training
                also ``labels``, class indices int64 (B,) or soft labels (B, num_classes) that sum
                to 1.

        Returns:
            In training ``{"loss_cls": cross-entropy}``; in evaluation probabilities
            (B, num_classes), or (B, V, num_classes) with views. Views are to be averaged as
            probabilities, as in the released code, not as logits.
        """
        inputs = batch["inputs"]
        if self.training:
            logits = self.logits(inputs).float()
            labels = batch["labels"].to(logits.device, non_blocking=True)
            return {"loss_cls": F.cross_entropy(logits, labels)}
        if inputs.ndim == len(self.backbone.input_size) + 2:
            return self.logits(inputs).float().softmax(dim=-1)
        parts = inputs.flatten(0, 1).split(self.max_views or inputs.shape[:2].numel())
        scores = torch.cat([self.logits(part).float().softmax(dim=-1) for part in parts])
        return scores.unflatten(0, inputs.shape[:2])

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute logits, before the softmax.

        Args:
            inputs: (B, 3, H, W) or (B, 3, T, H, W), normalised.

        Returns:
            (B, num_classes).
        """
        weight = self.head.projection.weight
        tokens, class_token = self.backbone.encode(inputs.to(weight.device, non_blocking=True))
        tokens = tokens.flatten(1, -2)
        if self.readout == "class_token":
            assert class_token is not None  # checked by __init__
            # The other tokens are included so that parameters of the last block that only they use
            # get a zero gradient, which DistributedDataParallel waits for.
            return self.head(self.norm(torch.cat([class_token, tokens], dim=1))[:, 0])
        if self.readout == "mean":
            return self.head(self.norm(tokens).mean(dim=1))
        return self.head(self.norm(tokens.mean(dim=1)))


class ClassificationHead(nn.Module):
    """Dropout and one linear layer, named as PySlowFast's TransformerBasicHead.

    See slowfast/models/head_helper.py in facebookresearch/SlowFast.

    Args:
        dim: channels C of the input.
        num_classes: number of outputs.
        dropout: probability in [0, 1].
        init_scale: factor on the initial weights.
    """

    def __init__(self, dim: int, num_classes: int, dropout: float, init_scale: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.projection.weight, std=0.02)
        nn.init.zeros_(self.projection.bias)
        with torch.no_grad():
            self.projection.weight.mul_(init_scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C) to logits (B, num_classes)."""
        return self.projection(self.dropout(x))


def init_like_pyslowfast(model: nn.Module) -> None:
    """Initialise convolutions at N(0, 0.02), biases of linear layers and norms at 0.02, in place.

    PyTorch's default, which the released image code keeps, would initialise the pooling
    convolutions of 27 weights with a standard deviation of 0.11.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.trunc_normal_(module.weight, std=0.02)
        elif isinstance(module, (nn.Linear, nn.LayerNorm)) and module.bias is not None:
            nn.init.constant_(module.bias, 0.02)
