"""The action detector: what each person of a clip does (paper, appendix B.6).

Letters: B clips, C channels, T', H', W' cells of the space-time map, N boxes, K actions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import roi_align

from mvit_det.recognition.backbone import ClassifierMViT
from mvit_det.recognition.recognizer import ClassificationHead, start_as_pyslowfast


class ActionDetector(nn.Module):
    """Say of each given box of a clip which actions are done in it; any number of them is possible.

    Parameters are named as the `Recognizer`'s of clips, and as PySlowFast's action detectors.

    Args:
        backbone: computes the tokens, of clips.
        num_classes: actions, outputs of the head.
        roi_size: samples along each side of a box.
        norm_layer: builds the last norm from its width.
        head_dropout: probability of dropout before the linear layer.
        pyslowfast_init: start as the released video code does, where no checkpoint is the start:
            see `start_as_pyslowfast`.
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
                f"The backbone's out_stride is {self.stride} pixels down and {across} across: boxes "
                "are read from its map at one scale, so both must be equal."
            )
        self.backbone = backbone
        self.num_classes = num_classes
        self.roi_size = roi_size
        self.norm = norm_layer(backbone.out_channels)
        self.head = ClassificationHead(
            backbone.out_channels, num_classes, head_dropout, init_scale=1.0
        )
        if pyslowfast_init:
            start_as_pyslowfast(self)

    def forward(self, batch: dict[str, Any]) -> dict[str, torch.Tensor] | list[torch.Tensor]:
        """Losses in training, probabilities in evaluation.

        Args:
            batch: ``inputs`` (B, 3, T, H, W), normalised, or where sizes differ a list of B clips
                (3, T, H, W); ``boxes``, B of (N, 4), x1, y1, x2, y2 in pixels of the clip, where N
                may differ, and be 0; in training ``labels`` as well, B of (N, K), 1 for each action
                that is done and 0 for others, in all of them for a box where none is.

        Returns:
            ``{"loss_action": binary cross-entropy, the mean over boxes and actions}``; in
            evaluation B of (N, K), probabilities that do not exclude each other.
        """
        boxes = batch["boxes"]
        logits = self.logits(batch["inputs"], boxes).float()
        if not self.training:
            return list(logits.sigmoid().split([len(each) for each in boxes]))
        labels = torch.cat(list(batch["labels"])).to(logits, non_blocking=True)
        # Not `mean`, which is nan for no box at all: a zero that reaches every parameter, as
        # DistributedDataParallel waits for all of them in each process.
        total = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        return {"loss_action": total / max(logits.numel(), 1)}

    def logits(
        self, inputs: torch.Tensor | Sequence[torch.Tensor], boxes: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Clips and boxes as for ``forward`` -> (N, K) before the sigmoid, for the boxes of all
        clips, one clip after the other.
        """
        if len(boxes) != len(inputs):
            raise ValueError(f"{len(inputs)} clips, and boxes for {len(boxes)}.")
        if isinstance(inputs, torch.Tensor):
            return self.head(self.features(inputs, boxes))
        # Clips of one size go through the network together; padding would change what they see.
        groups: dict[torch.Size, list[int]] = {}
        for index, clip in enumerate(inputs):
            groups.setdefault(clip.shape, []).append(index)
        found = {}
        for members in groups.values():
            given = [boxes[index] for index in members]
            rows = self.features(torch.stack([inputs[index] for index in members]), given)
            found.update(zip(members, rows.split([len(each) for each in given])))
        return self.head(torch.cat([found[index] for index in range(len(boxes))]))

    def features(self, inputs: torch.Tensor, boxes: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, 3, T, H, W) and B of (N, 4) -> (N, C), what the map shows in each box."""
        device = self.head.projection.weight.device
        # the class token is left out: it is at no place
        tokens, _ = self.backbone.encode(inputs.to(device, non_blocking=True))
        cells = tuple(tokens.shape[2:4])
        expected = tuple(-(-pixels // self.stride) for pixels in inputs.shape[-2:])
        if cells != expected:
            raise RuntimeError(
                f"The map of {tuple(inputs.shape[-2:])} pixels has {cells} cells, at out_stride "
                f"{self.stride} it would be {expected}: boxes would read other places than theirs."
            )
        # NOTE: Averaging over frames first, as PySlowFast does, equals the paper's RoIAlign frame by
        # frame with an average after it, as both are linear; at a T'-th of the cost.
        # (B, T', H', W', C) -> (B, C, H', W')
        maps = self.norm(tokens).mean(dim=1).movedim(-1, 1)
        boxes = [each.to(device, non_blocking=True) for each in boxes]
        return box_features(maps, boxes, 1 / self.stride, self.roi_size)


def box_features(
    maps: torch.Tensor, boxes: Sequence[torch.Tensor], scale: float, roi_size: int
) -> torch.Tensor:
    """The largest of what RoIAlign samples in each box: (B, C, H', W') -> (N, C).

    An empty box, or one beside the clip, such as a crop leaves behind, gets what RoIAlign makes of
    it; for the first this is zero.

    Args:
        maps: of any floating type; it is sampled in float32.
        boxes: B of (N, 4), x1, y1, x2, y2 in pixels.
        scale: cells of the map per pixel, 1 / 32 for MViT. PySlowFast's default of 1 / 16 fits its
            ResNets; on this map it would read at twice the distance from the upper left corner.
        roi_size: samples along each side of a box.
    """
    # NOTE: MViT's cell i is centred on pixel 32 i, as each convolution and pooling starts one half
    # kernel outside of the input, while RoIAlign takes it for the middle of pixels 32 i to 32 i + 31.
    # So all boxes read half a cell too far to the upper left, in PySlowFast and in training alike.
    samples = roi_align(
        maps.float(),
        [each.float() for each in boxes],
        roi_size,
        spatial_scale=scale,
        sampling_ratio=-1,  # as many as a bin has cells, rounded up
        aligned=True,
    )
    return samples.amax(dim=(2, 3)).to(maps.dtype)
