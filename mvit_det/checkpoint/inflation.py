"""Start a network for clips from the weights of one for images (paper, section 4.3).

Three rules, by name:

    centre   the weights stand in the middle slice of a convolution over time, zeros in the others, and
             the tables of relative position in time are zero. So a still clip is seen as the image,
             and time has no influence until training gives it one. The paper's rule. (But a class
             token stays one key, among T' times as many others as in the image, where T' is the
             number of token layers: it is attended to as if its logit were lower by log T'.)
    mean     the weights over the number of slices stand in each: equal on a still clip away from its
             ends, where zeros are padded. PySlowFast's ``TRAIN.CHECKPOINT_INFLATE``.
    repeat   the weights stand in each slice as they are. PySlowFast's ``TRAIN.CHECKPOINT_IN_INIT``,
             which its Something-Something-v2 recipe of L sets.

The last two leave the tables of time as the model has drawn them.
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
    """Refuse what is none of the rules with a `UserError`."""
    owner = "train, how weights of images become those of clips,"
    check_choice(owner, INFLATIONS, inflation=inflation)


def inflate(kernel: torch.Tensor, frames: int, inflation: str) -> tuple[torch.Tensor, str]:
    """Turn a convolution over (h, w) into one over (t, h, w).

    Args:
        kernel: (out, in, h, w).
        frames: slices in time, at least 2.
        inflation: one of the rules.

    Returns:
        (out, in, frames, h, w), and in words what was done.
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
    """Whether a tensor that a file lacks is a table of time that the rule sets to zero.

    Args:
        name: canonical name of the tensor.
        file, model: the networks on both sides.
        held: a container of the canonical names of the file.
    """
    if None in (file, model) or (file.axes, model.axes) != (2, 3) or inflation != "centre":
        return False
    # a block that the file has not, or has without position, is missing altogether
    stem, _, leaf = name.rpartition(".")
    return leaf == "rel_pos_t" and f"{stem}.rel_pos_h" in held
