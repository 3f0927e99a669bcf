"""The action detector: classify the actions of each person in a clip (paper, appendix B.6).

Legend: B clips, C channels, T', H', W' cells of the space-time map, N boxes, K actions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import roi_align

from mvit_det.recognition.backbone import ClassifierMViT
from mvit_det.recognition.recognizer import ClassificationHead, init_like_pyslowfast


class ActionDetector(nn.Module):
    """Predict the actions in each given box of a clip, any number per box.

    Parameter names are those of the `Recognizer` and of PySlowFast's action detectors.

    Args:
        backbone: computes the tokens of clips.
        num_classes: number of actions K, the outputs of the head.
        roi_size: samples along each side of a box.
        norm_layer: builds the last norm from its width.
        head_dropout: probability of dropout before the linear layer.
        pyslowfast_init: initialise like the released video code for training from scratch: see
            `init_like_pyslowfast`.

    Raises:
        ValueError: the backbone is for images, or its stride differs between height and width.
    """

    def __init__(
        self,
        backbone: ClassifierMViT,
        num_classes: int = 80,
        *,
        roi_size: int = 7,
        norm_layer: Callable[[int], nn.Module] = partial(nn.LayerNorm, eps=1e-6),
        head_dropout: float = 0.5,
        pyslowfast_init: bool = False,
    ):
        super().__init__()
        if len(backbone.out_stride) != 3:
            raise ValueError(
                f"The backbone is for images, input_size={backbone.input_size}: an action detector "
                "needs one for clips, whose input_size is (T, H, W)."
            )
        _, self.stride, across = backbone.out_stride
        if self.stride != across:
            raise ValueError(
                f"The backbone's out_stride is {self.stride} pixels down and {across} across: "
                "boxes are read from its map at one scale, so both must be equal."
            )
        self.backbone = backbone
        self.num_classes = num_classes
        self.roi_size = roi_size
        self.norm = norm_layer(backbone.out_channels)
        self.head = ClassificationHead(
            backbone.out_channels, num_classes, head_dropout, init_scale=1.0
        )
        if pyslowfast_init:
            init_like_pyslowfast(self)

    def forward(self, batch: dict[str, Any]) -> dict[str, torch.Tensor] | list[torch.Tensor]:
        """Compute losses in training, probabilities in evaluation.

        Args:
            batch: ``inputs`` (B, 3, T, H, W), normalised, or a list of B clips (3, T, H, W) if
                their sizes differ; ``boxes``, B of (N, 4) XYXY in pixels of the clip, N >= 0 may
                differ; in training also ``labels``, B of (N, K), 1 for each action in the box, else
                0.

        Returns:
            In training ``{"loss_action": binary cross-entropy, mean over boxes and actions}``; in
            evaluation B of (N, K), independent probabilities.

        Raises:
            ValueError: the numbers of clips and of lists of boxes differ.
        """
        boxes = batch["boxes"]
        logits = self.logits(batch["inputs"], boxes).float()
        if not self.training:
            return list(logits.sigmoid().split([len(clip_boxes) for clip_boxes in boxes]))
        labels = torch.cat(list(batch["labels"])).to(logits, non_blocking=True)
        # Not `mean`, which is NaN without boxes: a zero with gradients for all parameters is
        # needed, since DistributedDataParallel waits for all of them in each process.
        total = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        return {"loss_action": total / max(logits.numel(), 1)}

    def logits(
        self, inputs: torch.Tensor | Sequence[torch.Tensor], boxes: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Compute logits for the boxes of all clips, clip by clip.

        Args:
            inputs: clips as for ``forward``.
            boxes: as for ``forward``.

        Returns:
            (sum of N, K), before the sigmoid.

        Raises:
            ValueError: the numbers of clips and of lists of boxes differ.
        """
        if len(boxes) != len(inputs):
            raise ValueError(f"{len(inputs)} clips, but boxes for {len(boxes)}.")
        if isinstance(inputs, torch.Tensor):
            return self.head(self.features(inputs, boxes))
        # Clips of equal size go through the network together; padding would change the result.
        groups: dict[torch.Size, list[int]] = {}
        for index, clip in enumerate(inputs):
            groups.setdefault(clip.shape, []).append(index)
        features: dict[int, torch.Tensor] = {}
        for members in groups.values():
            group_boxes = [boxes[index] for index in members]
            rows = self.features(torch.stack([inputs[index] for index in members]), group_boxes)
            features.update(zip(members, rows.split([len(part) for part in group_boxes])))
        return self.head(torch.cat([features[index] for index in range(len(boxes))]))

    def features(
        self, inputs: torch.Tensor, boxes: Sequence[torch.Tensor] | torch.Tensor
    ) -> torch.Tensor:
        """Compute the features of each box.

        Args:
            inputs: (B, 3, T, H, W), normalised.
            boxes: B of (N, 4) XYXY in pixels of the clip; or one (sum of N, 5), the index of the
                clip first.

        Returns:
            (sum of N, C).

        Raises:
            RuntimeError: the map has other than ceil(H / stride) x ceil(W / stride) cells.
        """
        device = self.head.projection.weight.device
        # the class token is left out: it has no position
        tokens, _ = self.backbone.encode(inputs.to(device, non_blocking=True))
        cells = tuple(tokens.shape[2:4])
        expected = tuple(-(-pixels // self.stride) for pixels in inputs.shape[-2:])
        if cells != expected:
            raise RuntimeError(
                f"The map of {tuple(inputs.shape[-2:])} pixels has {cells} cells, at out_stride "
                f"{self.stride} it should have {expected}: boxes would be read from wrong places."
            )
        # NOTE: averaging over frames first, as PySlowFast does, equals the paper's RoIAlign of each
        # frame followed by an average, since both are linear, at 1 / T' of the cost.
        # (B, T', H', W', C) -> (B, C, H', W')
        maps = self.norm(tokens).mean(dim=1).movedim(-1, 1)
        if not isinstance(boxes, torch.Tensor):
            boxes = [clip_boxes.to(device, non_blocking=True) for clip_boxes in boxes]
        return box_features(maps, boxes, 1 / self.stride, self.roi_size)


def box_features(
    maps: torch.Tensor,
    boxes: Sequence[torch.Tensor] | torch.Tensor,
    scale: float,
    roi_size: int,
) -> torch.Tensor:
    """Take the maximum over the RoIAlign samples of each box (paper, appendix B.6).

    Cropping may leave empty boxes and boxes outside the clip; RoIAlign takes them unchanged, and an
    empty box gives zeros.

    Args:
        maps: (B, C, H', W') of any floating type; sampled in float32.
        boxes: B of (N, 4) XYXY in pixels, or (sum of N, 5), the index of the map first.
        scale: cells of the map per pixel, 1 / 32 for MViT. PySlowFast's default of 1 / 16 fits its
            ResNets; on this map it would double all distances from the upper left corner.
        roi_size: samples along each side of a box.

    Returns:
        (sum of N, C) in the dtype of ``maps``.
    """
    # NOTE: MViT's cell i is centred on pixel 32 i, since each convolution and pooling starts half a
    # kernel outside the input, while RoIAlign assumes the middle of pixels 32 i to 32 i + 31. So
    # all boxes are read half a cell too far to the upper left, as in PySlowFast and in training.
    samples = roi_align(
        maps.float(),
        boxes if isinstance(boxes, torch.Tensor) else [part.float() for part in boxes],
        roi_size,
        spatial_scale=scale,
        sampling_ratio=-1,  # as many as a bin has cells, rounded up
        aligned=True,
    )
    return samples.amax(dim=(2, 3)).to(maps.dtype)
