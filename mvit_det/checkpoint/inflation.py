"""Start a network for clips from the weights of one for images (paper, section 4.3).

Three rules, by name:

    centre   The weights go to the middle slice of a convolution over time, the others are zero, and
             so are the tables of relative position in time. A still clip gives the features of the
             image, and time has no influence before training. This is the paper's rule. (A class
             token remains one key among T' times as many others as in the image, T' = token frames:
             it is attended to as if its logit were lower by log T'.)
    mean     The weights, divided by the number of slices, go to each slice: the same on a still
             clip, except near its zero-padded ends. PySlowFast's ``TRAIN.CHECKPOINT_INFLATE``.
    repeat   The weights go to each slice unchanged. PySlowFast's ``TRAIN.CHECKPOINT_IN_INIT``,
             which its Something-Something-v2 recipe of L sets.

The last two rules keep the model's random initialisation of the position tables in time.
"""

import torch

from mvit_det.checkpoint.layout import Layout
from mvit_det.errors import check_choice

_PLACED = {
    "centre": "the weights in the centre frame, zeros in the others",
    "mean": "the weights over {} in each frame",
    "repeat": "the weights in each frame",
}
INFLATIONS = tuple(_PLACED)


def check_inflation(inflation: str) -> None:
    """Raise a `UserError` if ``inflation`` is not the name of a rule."""
    owner = "train, how weights of images become those of clips,"
    check_choice(owner, INFLATIONS, inflation=inflation)


def inflate(kernel: torch.Tensor, frames: int, inflation: str) -> tuple[torch.Tensor, str]:
    """Turn a convolution over (h, w) into one over (t, h, w).

    Args:
        kernel: (out, in, h, w).
        frames: number of slices in time, at least 2.
        inflation: name of a rule.

    Returns:
        (out, in, frames, h, w), and a description of the change.
    """
    note = _PLACED[inflation].format(frames)
    if inflation == "centre":
        deep = kernel.new_zeros(*kernel.shape[:2], frames, *kernel.shape[2:])
        deep[:, :, frames // 2] = kernel
        return deep, note
    deep = kernel.unsqueeze(2).repeat(1, 1, frames, 1, 1)
    return (deep / frames if inflation == "mean" else deep), note


def starts_at_zero(
    name: str, file: Layout | None, model: Layout | None, held: object, inflation: str
) -> bool:
    """Say whether a tensor that the file lacks is a position table in time that starts at zero.

    Args:
        name: canonical name of the tensor.
        file: the network of the file.
        model: the network of the model.
        held: container of the canonical names in the file.
        inflation: name of a rule.
    """
    if None in (file, model) or (file.axes, model.axes) != (2, 3) or inflation != "centre":
        return False
    # a block that is absent from the file, or has no position there, counts as missing
    stem, _, leaf = name.rpartition(".")
    return leaf == "rel_pos_t" and f"{stem}.rel_pos_h" in held
