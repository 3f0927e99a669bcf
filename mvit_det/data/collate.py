"""Collation of samples to a batch: a dict of stacked tensors, optionally mixed (mixup, CutMix)."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.data import Mixup as TimmMixup
from timm.data.mixup import mixup_target

from mvit_det.errors import check_number, check_share


class StackSamples:
    """Stacks samples key by key: tensors and integers become a tensor, all else a list."""

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Collate B samples: tensors become (B, ...), integers int64 (B,), all else a list."""
        return {key: _stack([sample[key] for sample in samples]) for key in samples[0]}


def _stack(values: list[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.stack(values)
    return torch.tensor(values) if isinstance(values[0], int) else values


class StackActionClips:
    """Collates samples of `ActionClipMapper`: "inputs" are stacked, all else is a list by clip.

    "inputs" of different sizes, such as whole frames of different videos, stay a list.
    """

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Collate B samples: "inputs" (B, 3, T, h, w) or a list of B clips; lists of B values."""
        batch = {key: [sample[key] for sample in samples] for key in samples[0]}
        inputs = batch.pop("inputs")
        one_size = len({clip.shape for clip in inputs}) == 1
        batch = {key: _share_memory(values) for key, values in batch.items()}
        return {"inputs": torch.stack(inputs) if one_size else inputs, **batch}


def _share_memory(values: list[Any]) -> list[Any]:
    """Turn tensors (N_i, ...) into views of one: each tensor from a worker keeps a file open."""
    if isinstance(values[0], torch.Tensor):
        return list(torch.cat(values).split([len(value) for value in values]))
    return values


class Mixup(StackSamples):
    """Mixes sample i of a batch with sample B - 1 - i, and their labels.

    One ratio per batch (mixup, Zhang et al. 2018) or one box per batch (CutMix, Yun et al. 2019),
    whose area sets the ratio of the labels; all frames of a clip are mixed alike. The arguments are
    timm's, the defaults those of the released recipes (paper, appendix B.2, B.4). "inputs" are
    images (B, 3, H, W) or clips (B, 3, T, H, W).

    NOTE: the released code cuts boxes with even sides only. timm keeps the side that was drawn; if
    it is odd, its box is one pixel larger.

    Args:
        num_classes: number of classes; "labels" become probabilities (B, num_classes).
        mixup_alpha: parameter of the beta distribution of mixup's ratio; 0 turns mixup off.
        cutmix_alpha: the same for CutMix. If both are off, labels are only smoothed; with
            ``label_smoothing=0`` as well they stay class indices.
        prob: probability (0..1) of mixing a batch.
        switch_prob: probability (0..1) of CutMix if both are on.
        label_smoothing: probability (0..1) that is spread evenly over all classes.

    Raises:
        UserError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        label_smoothing: float = 0.1,
    ):
        check_share("Mixup", prob=prob, switch_prob=switch_prob, label_smoothing=label_smoothing)
        alphas = dict(mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha)
        check_number("Mixup", "at least 0", lambda alpha: alpha >= 0, **alphas)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.mix = None
        if mixup_alpha > 0 or cutmix_alpha > 0:
            self.mix = TimmMixup(
                mixup_alpha=mixup_alpha,
                cutmix_alpha=cutmix_alpha,
                prob=prob,
                switch_prob=switch_prob,
                label_smoothing=label_smoothing,
                num_classes=num_classes,
            )

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Collate B samples with int "labels" to "inputs" and "labels", float32 (B, num_classes).

        Without mixing and smoothing "labels" are class indices, int64 (B,).
        """
        batch = super().__call__(samples)
        if self.mix is not None:
            batch["inputs"], batch["labels"] = self._mix(batch["inputs"], batch["labels"])
        elif self.label_smoothing:
            batch["labels"] = mixup_target(
                batch["labels"], self.num_classes, smoothing=self.label_smoothing
            )
        return batch

    def _mix(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.mix is not None
        shape, count = inputs.shape, len(labels)
        # timm cuts boxes in the last two of four axes, so frames become channels of an image.
        inputs = inputs.flatten(1, -3)
        if count % 2 == 0:
            inputs, labels = self.mix(inputs, labels)
            return inputs.view(shape), labels
        # timm needs an even batch. The middle sample of an odd one is mixed with itself: it is
        # inserted twice, and all other pairs stay the same.
        middle = count // 2
        twice = torch.tensor([*range(middle + 1), *range(middle, count)])
        inputs, labels = self.mix(inputs[twice], labels[twice])
        once = twice != middle
        once[middle] = True
        return inputs[once].view(shape), labels[once]
