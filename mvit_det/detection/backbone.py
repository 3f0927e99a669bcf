"""MViT as a Detectron2 backbone: swap the import, keep config and weights."""

from collections.abc import Callable, Sequence

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

from mvit_det.backbone import BlockOptions, MultiscaleTransformer, multiscale_plan
from mvit_det.backbone.layers import PatchEmbed
from mvit_det.backbone.mvit import Recompute
from mvit_det.backbone.plan import divide


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
        adaptive_window_size: window of stage 1 in tokens; halves from stage to stage. 0 for full
            attention everywhere, as in the classifier.
        residual_pooling: add the pooled query to the attention output (Eq. 5).
        mlp_ratio: hidden width of the MLP over the attention width.
        qkv_bias: whether q, k and v have a bias.
        drop_path_rate: stochastic depth rate of the last block.
        norm_layer, act_layer: callables that build the norm (from its width) and the activation.
        use_abs_pos, use_rel_pos: absolute and decomposed relative position embeddings.
        rel_pos_zero_init: start the relative position tables at zero, not at N(0, 0.02).
        use_act_checkpoint: recompute activations in the backward pass: True for whole blocks,
            ``"branches"``, ``"attention"``, ``"mlp"``, or a list with one value per stage.
        pretrain_img_size, pretrain_use_cls_token: shape of the absolute position embedding.
        out_features: the feature maps to return.
        expand_in: where channels grow, ``"attention"`` or ``"mlp"`` (released IN-1K weights of L).
        coarse_global_kv: pool keys and values twice as far in the full-attention blocks of strides
            8 and 16, as Detectron2's release does; off, the blocks are the classifier's.
        fused_attention: never store the attention map; off, the plain reference form.

    Raises:
        ValueError: the arguments contradict each other.
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
        adaptive_window_size: int = 56,
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
    ):
        if depth != last_block_indexes[-1] + 1:
            raise ValueError(
                f"depth={depth} and last_block_indexes={tuple(last_block_indexes)} disagree: "
                f"the last index must be {depth - 1}."
            )
        plan = multiscale_plan(
            embed_dim=embed_dim,
            num_heads=num_heads,
            last_block_indexes=last_block_indexes,
            grid=divide((img_size, img_size), patch_stride),
            stride_kv=(adaptive_kv_stride,) * 2,
            window=(adaptive_window_size,) * 2 if adaptive_window_size else None,
            full_attention=last_block_indexes[1:],
            coarse_kv=last_block_indexes[1:3] if coarse_global_kv else (),
            expand_in=expand_in,
            drop_path_rate=drop_path_rate,
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

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Describe the feature maps that ``forward`` returns, as an FPN needs them.

        Returns:
            name -> channels, and stride in pixels.
        """
        stride = self.patch_embed.proj.stride[0]
        ends = {name: self.plan[index] for index, name in self._block_to_feature.items()}
        return {
            name: ShapeSpec(channels=spec.dim_out, stride=stride * 2**spec.stage)
            for name, spec in ends.items()
        }
