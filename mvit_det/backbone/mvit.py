"""The backbone: patch embedding, blocks, and one normalised feature map per stage (Table 1)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mvit_det.backbone.block import MultiScaleBlock, call
from mvit_det.backbone.layers import PatchEmbed
from mvit_det.backbone.plan import BlockOptions, BlockSpec
from mvit_det.backbone.position import absolute_position

Recompute = bool | str | Sequence[bool | str]


class MultiscaleTransformer(nn.Module):
    """MViTv2 for images, with a grid (H, W) of tokens, and for clips, with a grid (T, H, W).

    Parameter names are those of the published checkpoints. Feature maps are named ``scale2`` to
    ``scale5``, after the base-2 logarithm of their stride, as in Detectron2.

    Args:
        plan: the blocks, from ``multiscale_plan``.
        patch_embed: maps the input to tokens.
        options: shared by all blocks; all published weights use LayerNorm with eps 1e-6.
        out_features: names of the feature maps to return.
        class_token: add a learned token that attends to all others and is read by a classifier (in
            all released models except ImageNet-1K and detection). It requires full attention.
        pos_embed_grid: grid (H, W) of the absolute position embedding ``pos_embed``, or (T, H, W)
            of ``pos_embed_spatial`` and ``pos_embed_temporal``, which are added (as in MViTv1);
            None for a network without.
        pos_embed_has_class_row: whether it has a row for a class token: its first one, or
            ``pos_embed_class``.
        activation_checkpointing: compute again in the backward pass, instead of storing it, True:
            each block; ``"branches"``: attention and MLP of each block, one at a time;
            ``"attention"`` or ``"mlp"``: one of them. A sequence has such a value per stage.

    Raises:
        ValueError: a class token with windows, an unknown name in ``out_features``, or an unknown
            value in ``activation_checkpointing``, or not one per stage.
    """

    def __init__(
        self,
        plan: Sequence[BlockSpec],
        patch_embed: PatchEmbed,
        options: BlockOptions,
        *,
        out_features: Sequence[str],
        class_token: bool = False,
        pos_embed_grid: Sequence[int] | None = None,
        pos_embed_has_class_row: bool = False,
        activation_checkpointing: Recompute = False,
    ):
        super().__init__()
        self.plan = tuple(plan)
        self.patch_embed = patch_embed
        self.cls_token = _learned_embedding(1, plan[0].dim_in) if class_token else None
        if class_token and any(spec.window for spec in plan):
            raise ValueError("A class token needs full attention: use a plan without windows.")
        # name of an absolute position embedding -> its axes of the grid; and that with a class row
        self._positions: dict[str, slice] = {}
        self._class_position: str | None = None
        self.pos_embed_grid = tuple(pos_embed_grid or ())
        if pos_embed_grid:
            self._add_positions(plan[0].dim_in, pos_embed_has_class_row)
        recompute = _per_stage(activation_checkpointing, plan[-1].stage + 1)
        self.blocks = nn.ModuleList(
            MultiScaleBlock(spec, options, recompute[spec.stage]) for spec in plan
        )

        ends = {f"scale{spec.stage + 2}": i for i, spec in enumerate(plan) if spec.ends_stage}
        unknown = [name for name in out_features if name not in ends]
        if unknown:
            raise ValueError(f"out_features has {unknown}: this backbone offers {sorted(ends)}.")
        self._out_features = list(out_features)
        # index of the block that ends a stage -> name of its feature map
        self._block_to_feature = {i: name for name, i in ends.items() if name in out_features}
        for index, name in self._block_to_feature.items():
            self.add_module(f"{name}_norm", options.norm_layer(plan[index].dim_out))
        self.apply(_init_weights)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the feature maps of all requested stages.

        Args:
            x: (B, 3, H, W) images or (B, 3, T, H, W) clips, normalised; any size.

        Returns:
            name -> (B, C, *grid) with grid = ceil(size / stride); channels-last in memory.
        """
        x, class_token = self.embed(x)
        features = {}
        for index, block in enumerate(self.blocks):
            x, class_token = _apply_block(block, x, class_token)
            if index in self._block_to_feature:
                name = self._block_to_feature[index]
                # (B, *grid, C) -> (B, C, *grid), a view; the next stage receives the raw tokens
                features[name] = getattr(self, f"{name}_norm")(x).movedim(-1, 1)
        return features

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute the tokens after the last block, before any norm.

        Args:
            x: as in ``forward``.

        Returns:
            (B, *grid, C), and the class token (B, 1, C) or None.
        """
        x, class_token = self.embed(x)
        for block in self.blocks:
            x, class_token = _apply_block(block, x, class_token)
        return x, class_token

    def embed(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Embed the input and add the absolute position, if there is one.

        Args:
            x: as in ``forward``.

        Returns:
            Tokens (B, *grid, C), and the class token (B, 1, C) or None.
        """
        x = self.patch_embed(x)
        class_token = None if self.cls_token is None else self.cls_token.expand(x.shape[0], -1, -1)
        grid = x.shape[1:-1]
        for name, axes in self._positions.items():
            nominal = self.pos_embed_grid[axes]
            rows = getattr(self, name)[:, -math.prod(nominal) :]  # without that of the class token
            position = absolute_position(rows, nominal, grid[axes])
            for axis in sorted(set(range(len(grid))) - set(range(len(grid))[axes])):
                position = position.unsqueeze(1 + axis)
            x = x + position
        if class_token is not None and self._class_position:
            class_token = class_token + getattr(self, self._class_position)[:, :1]
        return x, class_token

    def _add_positions(self, dim: int, has_class_row: bool) -> None:
        """Add the parameters of absolute position, under the names of released code."""
        sizes = self.pos_embed_grid
        if len(sizes) == 2:
            self._positions = {"pos_embed": slice(0, 2)}
            self.pos_embed = _learned_embedding(math.prod(sizes) + has_class_row, dim)
            self._class_position = "pos_embed" if has_class_row else None
            return
        self._positions = {"pos_embed_spatial": slice(1, 3), "pos_embed_temporal": slice(0, 1)}
        for name, axes in self._positions.items():
            self.register_parameter(name, _learned_embedding(math.prod(sizes[axes]), dim))
        if has_class_row:
            self.pos_embed_class = _learned_embedding(1, dim)
            self._class_position = "pos_embed_class"


def _apply_block(block: Any, *tokens: torch.Tensor | None) -> tuple:
    return call(block, *tokens, recompute="block" in block.recomputed)


def _per_stage(values: Recompute, stages: int) -> Sequence[bool | str]:
    if isinstance(values, (bool, str)) or not isinstance(values, Sequence):
        return [values] * stages
    if len(values) != stages:
        raise ValueError(
            f"use_act_checkpoint={list(values)} has {len(values)} values: give one for each of the "
            f"{stages} stages, or a single one."
        )
    return values


def _learned_embedding(rows: int, dim: int) -> nn.Parameter:
    """Create a learned embedding (1, rows, dim), initialised as in all released code."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, rows, dim), std=0.02))


def _init_weights(module: nn.Module) -> None:
    # Truncated normal (paper, appendix B.2); its width 0.02 is that of the released image code.
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
