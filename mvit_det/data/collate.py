"""From samples of one size to a batch: a dict of stacked tensors, mixed with each other if wanted."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.data import Mixup as TimmMixup
from timm.data.mixup import mixup_target

from mvit_det.errors import check_number, check_share


class StackSamples:
    """Joins samples key by key: tensors are stacked, numbers become a tensor, the rest a list."""

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {key: _joined([sample[key] for sample in samples]) for key in samples[0]}


def _joined(values: list[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.stack(values)
    return torch.tensor(values) if isinstance(values[0], int) else values


class StackActionClips:
    """Joins samples of `ActionClipMapper`: "inputs" are stacked, all else is a list by clip.

    "inputs" that differ in size, as whole frames of different videos do, stay a list.
    """

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = {key: [sample[key] for sample in samples] for key in samples[0]}
        inputs = batch.pop("inputs")
        alike = len({clip.shape for clip in inputs}) == 1
        batch = {key: _in_one_piece(values) for key, values in batch.items()}
        return {"inputs": torch.stack(inputs) if alike else inputs, **batch}


def _in_one_piece(values: list[Any]) -> list[Any]:
    """Tensors (N_i, ...) as views of one: each piece of memory from a worker keeps a file open."""
    if isinstance(values[0], torch.Tensor):
        return list(torch.cat(values).split([len(value) for value in values]))
    return values


class Mixup(StackSamples):
    """Mixes each sample of a batch with the one at the same place from the end, and their labels.

    One ratio per batch (mixup, Zhang et al. 2018) or one box per batch (CutMix, Yun et al. 2019),
    whose area sets the ratio of the labels; of clips the same for all frames. The arguments are
    timm's, the defaults those of the released recipes (paper, appendix B.2, B.4). "inputs" are images
    (B, 3, H, W) or clips (B, 3, T, H, W).

    NOTE: the released code cuts boxes of even sides only. timm's have the side that was drawn, so
    where that is odd they are one pixel larger.

    Args:
        num_classes: "labels" become probabilities (B, num_classes).
        mixup_alpha, cutmix_alpha: of the beta distribution that the ratio is drawn from; 0 turns
            the kind off. With both off labels are smoothed only, and with ``label_smoothing=0``
            as well they stay numbers.
        prob: of mixing a batch at all.
        switch_prob: of CutMix, where both are on.
        label_smoothing: shared out evenly among all classes.
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
        batch = super().__call__(samples)
        if self.mix is not None:
            batch["inputs"], batch["labels"] = self._mixed(batch["inputs"], batch["labels"])
        elif self.label_smoothing:
            batch["labels"] = mixup_target(
                batch["labels"], self.num_classes, smoothing=self.label_smoothing
            )
        return batch

    def _mixed(
        self, inputs: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shape, count = inputs.shape, len(labels)
        # timm cuts boxes out of the last two of four axes: frames become channels of an image.
        inputs = inputs.flatten(1, -3)
        if count % 2 == 0:
            inputs, labels = self.mix(inputs, labels)
            return inputs.view(shape), labels
        # timm wants an even batch. The sample in the middle of an odd one has itself as partner: put
        # in twice it has its twin, and all others keep the partners that they had.
        middle = count // 2
        twice = torch.tensor([*range(middle + 1), *range(middle, count)])
        inputs, labels = self.mix(inputs[twice], labels[twice])
        once = twice != middle
        once[middle] = True
        return inputs[once].view(shape), labels[once]
