"""MViT as a Detectron2 backbone: swap the import, keep config and weights."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

from mvit_det.backbone import BlockOptions, MultiscaleTransformer
from mvit_det.backbone.layers import PatchEmbed
from mvit_det.backbone.mvit import Recompute
from mvit_det.backbone.plan import divide, plan_from_arguments, total_stride


@BACKBONE_REGISTRY.register()
class MViT(MultiscaleTransformer, Backbone):
    """MViTv2 with hybrid window attention (paper, section 4.2).

    Takes the arguments of ``detectron2.modeling.MViT`` under the same names, has the same
    ``state_dict`` and computes the same features.

    Args:
        img_size: nominal input side in pixels; fixes the length of the position tables only.
        patch_kernel, patch_stride, patch_padding: of the patch embedding, in pixels.
        in_chans: channels of the input image.
        embed_dim, num_heads: channels and heads of stage 1 (Table 1).
        depth: number of blocks in all stages.
        last_block_indexes: last block of each stage; ``mvit_det.backbone.VARIANTS`` has them.
        qkv_pool_kernel: kernel of the pooling convolutions.
        adaptive_kv_stride: key/value pooling stride of stage 1; halves from stage to stage.
        adaptive_window_size: window of stage 1 in tokens, which halves from stage to stage; or a
            list with one per stage. 0 for full attention everywhere, as in the classifier.
        residual_pooling: add the pooled query to the attention output (Eq. 5).
        mlp_ratio: hidden width of the MLP over the attention width.
        qkv_bias: whether q, k and v have a bias.
        drop_path_rate: stochastic depth rate of the last block.
        norm_layer, act_layer: callables that build the norm (from its width) and the activation.
        use_abs_pos, use_rel_pos: absolute and relative position embeddings.
        rel_pos_zero_init: start the relative position tables at zero, not at N(0, 0.02).
        use_act_checkpoint: recompute activations in the backward pass: True for whole blocks,
            ``"branches"``, ``"attention"``, ``"mlp"``, or a list with one value per stage.
        pretrain_img_size, pretrain_use_cls_token: shape of the absolute position embedding.
        out_features: the feature maps to return.
        expand_in: where channels grow, ``"attention"`` or ``"mlp"`` (released IN-1K weights of L).
        coarse_global_kv: pool keys and values twice as far in the full-attention blocks of strides
            8 and 16, as Detectron2's release does; off, the blocks are the classifier's.
        fused_attention: never store the attention map; off, the plain reference form.
        attention: ``"hwin"``, hybrid windows: full attention in the last blocks of the last three
            stages; ``"windows"`` everywhere; ``"swin"``, shifted in every second block; ``"full"``.
        width_growth: channels and heads of a stage over those of the stage before; 1 for a ViT
            (``mvit_det.backbone.VIT_B`` has its arguments).
        halving_blocks: blocks that pool their queries by 2, which halves the grid; None for the
            first block of every stage but the first.
        full_pooling: which of q, k and v are pooled in all blocks, not only where the stride is
            above 1: ``"kv"`` is the paper's Table 7 without full Q pooling.
        rel_pos_tables: axes of each table of relative positions: ``("h", "w")`` is decomposed,
            ``("hw",)`` joint, ``("t", "hw")`` joint in space and separate in time. None: one table
            per axis.
        rel_pos_on: letters of q, k and v: which of them carries relative position (Table A.4).

    Raises:
        ValueError: the arguments contradict each other, or a word is not known.
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_kernel: Sequence[int] = (7, 7),
        patch_stride: Sequence[int] = (4, 4),
        patch_padding: Sequence[int] = (3, 3),
        in_chans: int = 3,
        embed_dim: int = 96,
        depth: int = 16,
        num_heads: int = 1,
        last_block_indexes: Sequence[int] = (0, 2, 11, 15),
        qkv_pool_kernel: Sequence[int] = (3, 3),
        adaptive_kv_stride: int = 4,
        adaptive_window_size: int | Sequence[int] = 56,
        residual_pooling: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_abs_pos: bool = False,
        use_rel_pos: bool = True,
        rel_pos_zero_init: bool = True,
        use_act_checkpoint: Recompute = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_features: Sequence[str] = ("scale2", "scale3", "scale4", "scale5"),
        *,
        expand_in: str = "attention",
        coarse_global_kv: bool = True,
        fused_attention: bool = True,
        attention: str = "hwin",
        width_growth: int = 2,
        halving_blocks: Sequence[int] | None = None,
        full_pooling: str = "qkv",
        rel_pos_tables: Sequence[str] | None = None,
        rel_pos_on: str = "q",
    ):
        _check_sizes(depth, last_block_indexes, coarse_global_kv and width_growth == 1)
        # Hybrid windows are the default, hence a size of 0 alone has always meant full attention.
        attention = attention if adaptive_window_size or attention != "hwin" else "full"
        plan = plan_from_arguments(
            locals(),
            grid=divide((img_size, img_size), patch_stride),
            stride_kv=(adaptive_kv_stride,) * 2,
            coarse_kv=last_block_indexes[1:3] if coarse_global_kv else (),
        )
        pretrain_grid = divide((pretrain_img_size, pretrain_img_size), patch_stride)
        super().__init__(
            plan,
            PatchEmbed(patch_kernel, patch_stride, patch_padding, in_chans, embed_dim),
            BlockOptions.from_arguments(locals(), pool_kernel=qkv_pool_kernel),
            out_features=out_features,
            pos_embed_grid=pretrain_grid if use_abs_pos else None,
            pos_embed_has_class_row=pretrain_use_cls_token,
            activation_checkpointing=use_act_checkpoint,
        )

    @property
    def size_divisibility(self) -> int:  # type: ignore[override]
        """Multiple that images are padded to: patches without padding would omit a remainder."""
        patches = self.patch_embed.proj
        return 0 if max(patches.padding) else max(patches.stride)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Describe the feature maps that ``forward`` returns, as an FPN needs them.

        Returns:
            name -> channels, and stride in pixels.
        """
        patch = self.patch_embed.proj.stride[0]
        return {
            name: ShapeSpec(
                channels=self.plan[index].dim_out,
                stride=patch * total_stride(self.plan[: index + 1])[0],
            )
            for index, name in self._block_to_feature.items()
        }


def _check_sizes(depth: int, ends: Sequence[int], coarse_constant: bool) -> None:
    if depth != ends[-1] + 1:
        raise ValueError(
            f"depth={depth} and last_block_indexes={tuple(ends)} disagree: the last index must be "
            f"{depth - 1}."
        )
    if coarse_constant:
        raise ValueError(
            "coarse_global_kv=True is for Detectron2's multiscale networks: set it to False with "
            "width_growth=1."
        )


@BACKBONE_REGISTRY.register()
class ResampledMViT(MViT):
    """Feature maps resampled to strides 4, 8, 16 and 32, for a pyramid on a ViT (Table 9).

    The paper names the scheme of Li et al. (Benchmarking Detection Transfer Learning with Vision
    Transformers, 2021): a transposed convolution of stride 2 doubles a map; two of them, with group
    norm and GELU between, make it four times as large; max pooling halves it.

    Args:
        *arguments: of `MViT`; there must be four stages.
        **named: the same.

    Raises:
        ValueError: a feature map has a stride that this does not lead from to its own of the four.
    """

    @wraps(MViT.__init__)  # type: ignore[misc]  # with its signature
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self._strides = {f"scale{level}": 2**level for level in range(2, 6)}
        shapes: dict[str, Any] = super().output_shape()
        self.resample = nn.ModuleDict(
            {
                name: build_resampling(shape.channels, shape.stride / self._strides[name])
                for name, shape in shapes.items()
            }
        )

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the resampled feature maps, as `MViT` its own."""
        return {name: self.resample[name](map_) for name, map_ in super().forward(x).items()}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Describe the feature maps that ``forward`` returns, as an FPN needs them."""
        return {
            name: ShapeSpec(channels=shape.channels, stride=self._strides[name])
            for name, shape in super().output_shape().items()
        }


def build_resampling(channels: int, scale: float) -> nn.Module:
    """Build what enlarges a feature map by 4, 2, 1 or 0.5.

    Args:
        channels: of the map, before and after.
        scale: output size over input size.

    Raises:
        ValueError: ``scale`` is another number.
    """

    def double() -> nn.Module:
        return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)

    builders: dict[float, Callable[[], nn.Module]] = {
        4: lambda: nn.Sequential(double(), nn.GroupNorm(32, channels), nn.GELU(), double()),
        2: double,
        1: nn.Identity,
        0.5: lambda: nn.MaxPool2d(2),
    }
    if scale not in builders:
        raise ValueError(f"A feature map cannot be resampled by {scale}: use 4, 2, 1 or 0.5.")
    return builders[scale]()
