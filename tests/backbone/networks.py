"""Plans and small networks for the tests of this folder; torch only, like the backbone."""

from dataclasses import fields

from mvit_det.backbone import (
    BlockOptions,
    BlockSpec,
    MultiscaleTransformer,
    Variant,
    multiscale_plan,
)
from mvit_det.backbone.layers import PatchEmbed

# Few, narrow blocks of every kind: heads, strides, windows, full attention, expansion.
SMALL = Variant(embed_dim=16, depths=(2, 2, 3, 2), num_heads=1)
SCALES = ("scale2", "scale3", "scale4", "scale5")


def hwin_plan(variant: Variant, **changes) -> list[BlockSpec]:
    """Make the plan of Detectron2's MViTv2 for a 224 pixel input, with changes."""
    ends = variant.last_block_indexes
    arguments = dict(
        embed_dim=variant.embed_dim,
        num_heads=variant.num_heads,
        last_block_indexes=ends,
        grid=(56, 56),
        stride_kv=(4, 4),
        window=(56, 56),
        full_attention=ends[1:],
        coarse_kv=ends[1:-1],
    )
    return multiscale_plan(**{**arguments, **changes})


def small_plan(**changes) -> list[BlockSpec]:
    """Make a narrow plan for 64 pixel inputs, with windows of 8 tokens in stage 1."""
    return hwin_plan(SMALL, **{**dict(grid=(16, 16), window=(8, 8)), **changes})


def clip_plan(variant: Variant, grid: tuple[int, int, int], **changes) -> list[BlockSpec]:
    """Make the plan of video classifiers: full attention, keys and values pooled by 8 in space."""
    differences = dict(grid=grid, stride_kv=(1, 8, 8), window=None, full_attention=(), coarse_kv=())
    return hwin_plan(variant, **{**differences, **changes})


def network(plan: list[BlockSpec], **options) -> MultiscaleTransformer:
    """Build a network in evaluation mode, with random position tables instead of zeros."""
    axes = len(plan[0].grid)
    if axes == 2:
        stem = PatchEmbed((7, 7), (4, 4), (3, 3), 3, plan[0].dim_in)
    else:
        stem = PatchEmbed((3, 7, 7), (2, 4, 4), (1, 3, 3), 3, plan[0].dim_in)
    options = dict(out_features=SCALES, pool_kernel=(3,) * axes, rel_pos_zero_init=False) | options
    names = [field.name for field in fields(BlockOptions) if field.name in options]
    shared = BlockOptions(**{name: options.pop(name) for name in names})
    return MultiscaleTransformer(plan, stem, shared, **options).eval()
