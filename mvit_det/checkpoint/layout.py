"""Infer the network that a set of tensors belongs to from their names and shapes alone."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from mvit_det.backbone.variants import VARIANTS

# Names of the transformer up to its final norm; all others belong to heads.
BACKBONE = re.compile(r"(patch_embed|blocks)\..+|cls_token|pos_embed(_\w+)?|scale\d_norm\..+")
STEM = "patch_embed.proj.weight"


@dataclass(frozen=True)
class Layout:
    """The properties of an MViT that its tensors determine.

    Attributes:
        axes: 2 for images, 3 for clips.
        embed_dim: channels of stage 1.
        depths: blocks per stage.
        expand_in: where channels grow, ``"attention"`` or ``"mlp"``; None if they do not.
        class_token: whether it has a class token.
        grid: nominal tokens along each axis, from the relative position tables; None without them.
        classes: outputs of the classification head; 0 without one.
    """

    axes: int
    embed_dim: int
    depths: tuple[int, ...]
    expand_in: str | None
    class_token: bool
    grid: tuple[int, ...] | None
    classes: int

    @property
    def starts(self) -> tuple[int, ...]:
        """Index of the first block of each stage."""
        return tuple(sum(self.depths[:stage]) for stage in range(len(self.depths)))

    @property
    def variant(self) -> str | None:
        """Letter in the paper's Table 1; None for any other network.

        None without relative position: MViTv1-B has the widths and depths of MViTv2-S.
        """
        if self.grid is None:
            return None
        for letter, row in VARIANTS.items():
            if (row.embed_dim, row.depths) == (self.embed_dim, self.depths):
                return letter
        return None

    def __str__(self) -> str:
        name = f"MViTv2-{self.variant}" if self.variant else "MViT"
        depths = "-".join(map(str, self.depths))
        return (
            f"{name} for {'clips' if self.axes == 3 else 'images'}, {depths} blocks, "
            f"{self.embed_dim} channels"
        )


def layout_of(tensors: Mapping[str, torch.Tensor]) -> Layout | None:
    """Infer the network from tensors with canonical names (`formats`); None if not an MViT's."""
    tensors = {name: tensor for name, tensor in tensors.items() if tensor.ndim}
    stem = tensors.get(STEM)
    blocks = {int(m[1]) for m in (re.match(r"blocks\.(\d+)\.", name) for name in tensors) if m}
    if stem is None or not blocks or stem.ndim not in (4, 5):
        return None
    depth, expand_in, starts = max(blocks) + 1, None, [0]
    for index in sorted(blocks):
        widens = expansion(tensors, index)
        if widens:
            expand_in = widens
            starts.append(index if widens == "attention" else index + 1)
    bounds = [*starts, depth]
    head = tensors.get("head.projection.weight")
    return Layout(
        axes=stem.ndim - 2,
        embed_dim=stem.shape[0],
        depths=tuple(b - a for a, b in zip(bounds, bounds[1:])),
        expand_in=expand_in,
        class_token="cls_token" in tensors,
        grid=_nominal_grid(tensors, stem.ndim - 2),
        classes=0 if head is None else head.shape[0],
    )


def absent_names(tensors: Mapping[str, torch.Tensor], layout: Layout) -> list[str]:
    """List the canonical names that a complete network of this layout also has, without heads.

    Blocks are compared with each other: a name that one block has, all must have, except for the
    widened skip and, if block 0 has none (as in MViTv1), the pooling of queries.
    """
    leaves: dict[int, set[str]] = {}  # block index -> names within the block
    for name in tensors:
        if block := re.match(r"blocks\.(\d+)\.(.+)", name):
            leaves.setdefault(int(block[1]), set()).add(block[2])
    common = set().union(*leaves.values()) - {"proj.weight", "proj.bias"}
    if not any(leaf.startswith(("attn.pool_q", "attn.norm_q")) for leaf in leaves.get(0, ())):
        common = {leaf for leaf in common if not leaf.startswith(("attn.pool_q", "attn.norm_q"))}
    absent = [
        f"blocks.{index}.{leaf}"
        for index in range(sum(layout.depths))
        for leaf in sorted(common - leaves.get(index, set()))
    ]
    return absent + [name for name in (STEM, "patch_embed.proj.bias") if name not in tensors]


def expansion(tensors: Mapping[str, torch.Tensor], index: int) -> str | None:
    """Find where a block widens its tokens: ``"attention"``, ``"mlp"``, or None for nowhere.

    In both cases the skip connection has a ``proj``; if the attention is as wide as the block's
    output, the attention has widened.

    Args:
        tensors: canonical name -> tensor.
        index: block index over the network.
    """
    skip = tensors.get(f"blocks.{index}.proj.weight")
    attention = tensors.get(f"blocks.{index}.attn.proj.weight")
    if skip is None or attention is None:
        return None
    return "attention" if attention.shape[0] == skip.shape[0] else "mlp"


def _nominal_grid(tensors: Mapping[str, torch.Tensor], axes: int) -> tuple[int, ...] | None:
    # queries of block 0 are not pooled, so its tables have 2n - 1 rows along an axis of n tokens
    names = [f"blocks.0.attn.rel_pos_{axis}" for axis in "thw"[-axes:]]
    if any(name not in tensors for name in names):
        return None
    return tuple((tensors[name].shape[0] + 1) // 2 for name in names)


def backbone_prefix(names: Iterable[str]) -> str | None:
    """Find the prefix of the transformer's names, such as ``backbone.``; None if it is absent."""
    for name in names:
        if name == STEM or name.endswith("." + STEM):
            return name.removesuffix(STEM)
    return None
