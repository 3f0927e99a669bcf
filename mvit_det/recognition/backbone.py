"""The backbone of classifiers: full attention, optional class token, images or clips."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from mvit_det.backbone import BlockOptions, MultiscaleTransformer
from mvit_det.backbone.layers import PatchEmbed
from mvit_det.backbone.mvit import Recompute
from mvit_det.backbone.plan import divide, plan_from_arguments, total_stride

# Arguments of all released video models that differ from the defaults, which are for images; to be
# used with input_size=(T, H, W).
CLIP_ARGUMENTS = dict(
    patch_kernel=(3, 7, 7),
    patch_stride=(2, 4, 4),
    patch_padding=(1, 3, 3),
    pool_kernel=(3, 3, 3),
    adaptive_kv_stride=(1, 8, 8),
    class_token=True,
)


class ClassifierMViT(MultiscaleTransformer):
    """MViTv2 with pooling attention over the whole input (paper, sections 3 and 4.1).

    Tuples of two numbers (H, W) give a network for images, of three (T, H, W) one for clips. It has
    the ``state_dict`` of facebookresearch/mvit and PySlowFast, without their last norm and head,
    which belong to the `Recognizer`.

    Args:
        input_size: nominal input in pixels (and frames); fixes the length of the position tables
            only. Any other size runs as well; tables are resized to it.
        patch_kernel, patch_stride, patch_padding: of the patch embedding, in pixels.
        in_chans: channels of the input.
        embed_dim, num_heads: channels and heads of stage 1 (Table 1).
        last_block_indexes: last block of each stage; ``mvit_det.backbone.VARIANTS`` has them.
        pool_kernel: kernel of the pooling convolutions.
        adaptive_kv_stride: key/value pooling stride of stage 1; halves from stage to stage.
        class_token: on in the released IN-21K and video models, off in the IN-1K ones.
        expand_in: where channels grow, ``"attention"`` or ``"mlp"`` (released IN-1K weights of L,
            and MaskFeat).
        drop_path_rate: stochastic depth rate of the last block.
        use_abs_pos, use_rel_pos: absolute and relative position embeddings; the absolute one of
            clips is the sum of one in space and one in time.
        rel_pos_zero_init: start the relative position tables at zero, not at N(0, 0.02).
        residual_pooling: add the pooled query to the attention output (Eq. 5).
        mlp_ratio: hidden width of the MLP over the attention width.
        qkv_bias: whether q, k and v have a bias.
        norm_layer, act_layer: callables that build the norm (from its width) and the activation.
        use_act_checkpoint: recompute activations in the backward pass: True for whole blocks,
            ``"branches"``, ``"attention"``, ``"mlp"``, or a list with one value per stage.
        fused_attention: never store the attention map; off, the plain reference form.
        attention: ``"full"``; ``"windows"``; ``"swin"``, shifted in every second block; or
            ``"hwin"``, full in the last blocks of the last three stages. Windows exclude a class
            token.
        adaptive_window_size: window of stage 1 in tokens, which halves from stage to stage; or a
            list with one per stage.
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
        ValueError: the tuples differ in length, arguments contradict each other, or a word is not
            known.
    """

    def __init__(
        self,
        input_size: Sequence[int] = (224, 224),
        patch_kernel: Sequence[int] = (7, 7),
        patch_stride: Sequence[int] = (4, 4),
        patch_padding: Sequence[int] = (3, 3),
        in_chans: int = 3,
        embed_dim: int = 96,
        num_heads: int = 1,
        last_block_indexes: Sequence[int] = (0, 2, 7, 9),
        pool_kernel: Sequence[int] = (3, 3),
        adaptive_kv_stride: Sequence[int] = (4, 4),
        *,
        class_token: bool = False,
        expand_in: str = "attention",
        drop_path_rate: float = 0.0,
        use_abs_pos: bool = False,
        use_rel_pos: bool = True,
        rel_pos_zero_init: bool = False,
        residual_pooling: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_layer: Callable[[int], nn.Module] = partial(nn.LayerNorm, eps=1e-6),
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_act_checkpoint: Recompute = False,
        fused_attention: bool = True,
        attention: str = "full",
        adaptive_window_size: int | Sequence[int] = 0,
        width_growth: int = 2,
        halving_blocks: Sequence[int] | None = None,
        full_pooling: str = "qkv",
        rel_pos_tables: Sequence[str] | None = None,
        rel_pos_on: str = "q",
    ):
        per_axis = (patch_kernel, patch_stride, patch_padding, pool_kernel, adaptive_kv_stride)
        _check_axes(input_size, *per_axis)
        grid = divide(input_size, patch_stride)
        plan = plan_from_arguments(locals(), grid=grid, stride_kv=tuple(adaptive_kv_stride))
        super().__init__(
            plan,
            PatchEmbed(patch_kernel, patch_stride, patch_padding, in_chans, embed_dim),
            BlockOptions.from_arguments(locals()),
            out_features=(),
            class_token=class_token,
            pos_embed_grid=grid if use_abs_pos else None,
            pos_embed_has_class_row=class_token,
            activation_checkpointing=use_act_checkpoint,
        )
        self.input_size = tuple(input_size)
        self.out_channels = plan[-1].dim_out
        # of the tokens that `encode` returns, in input pixels (and frames)
        self.out_stride = tuple(a * b for a, b in zip(patch_stride, total_stride(plan)))


def _check_axes(input_size: Sequence[int], *per_axis: Sequence[int]) -> None:
    axes = len(input_size)
    if axes not in (2, 3) or any(len(numbers) != axes for numbers in per_axis):
        raise ValueError(
            f"input_size={tuple(input_size)} has {axes} numbers: it must have 2 for images or 3 "
            "for clips, and as many as patch_kernel, patch_stride, patch_padding, pool_kernel and "
            "adaptive_kv_stride."
        )
