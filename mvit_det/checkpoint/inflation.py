"""Inflate the weights of a network for images into those of one for clips (paper, section 4.3).

Three rules, by name:

    centre   The weights go to the middle slice of a convolution over time; the other slices and the
             tables of relative position in time are zero. A still clip gives the features of the
             image, and time has no influence before training. This is the paper's rule. (With T'
             token frames there are T' times as many keys as in the image, but still one class
             token: it is attended to as if its logit were lower by log T'.)
    mean     The weights, divided by the number of slices, go to each slice: the same on a still
             clip, except near its zero-padded ends. PySlowFast's ``TRAIN.CHECKPOINT_INFLATE``.
    repeat   The weights go to each slice unchanged. PySlowFast's ``TRAIN.CHECKPOINT_IN_INIT``,
             which its Something-Something-v2 recipe of L sets.

The last two rules keep the model's random initialisation of the position tables in time.
"""

from collections.abc import Collection

import torch

from mvit_det.checkpoint.layout import Layout
from mvit_det.errors import check_choice

_NOTES = {
    "centre": "the weights in the centre frame, zeros in the others",
    "mean": "the weights over {} in each frame",
    "repeat": "the weights in each frame",
}
INFLATIONS = tuple(_NOTES)


def check_inflation(inflation: str) -> None:
    """Raise a `UserError` if ``inflation`` is not the name of a rule."""
    owner = "train, the rule that turns image weights into clip weights,"
    check_choice(owner, INFLATIONS, inflation=inflation)


def inflate(kernel: torch.Tensor, frames: int, inflation: str) -> tuple[torch.Tensor, str]:
    """Turn a convolution over (h, w) into one over (t, h, w).

    Args:
        kernel: (out, in, h, w).
        frames: number of slices in time, at least 2.
        inflation: name of a rule, one of ``INFLATIONS``.

    Returns:
        (out, in, frames, h, w), and a description of the change.
    """
    note = _NOTES[inflation].format(frames)
    if inflation == "centre":
        deep = kernel.new_zeros(*kernel.shape[:2], frames, *kernel.shape[2:])
        deep[:, :, frames // 2] = kernel
        return deep, note
    deep = kernel.unsqueeze(2).repeat(1, 1, frames, 1, 1)
    return (deep / frames if inflation == "mean" else deep), note


def starts_at_zero(
    name: str, file: Layout | None, model: Layout | None, names: Collection[str], inflation: str
) -> bool:
    """Return whether a tensor that the file lacks is a position table in time that starts at zero.

    Args:
        name: canonical name of the tensor.
        file: the network of the file.
        model: the network of the model.
        names: canonical names of the file.
        inflation: name of a rule.
    """
    if file is None or model is None or (file.axes, model.axes, inflation) != (2, 3, "centre"):
        return False
    # a block that is absent from the file, or has no position there, counts as missing
    stem, _, leaf = name.rpartition(".")
    return leaf == "rel_pos_t" and f"{stem}.rel_pos_h" in names
