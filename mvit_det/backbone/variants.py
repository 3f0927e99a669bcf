"""The five model sizes of the paper (Table 1), and the ViT-B that it compares with."""

from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Variant:
    """One row of Table 1 of the paper; channels and heads double from stage to stage."""

    embed_dim: int  # channels of stage 1
    depths: tuple[int, int, int, int]  # blocks per stage
    num_heads: int  # heads of stage 1

    @property
    def depth(self) -> int:
        """Total number of blocks."""
        return sum(self.depths)

    @property
    def last_block_indexes(self) -> tuple[int, ...]:
        """Index of the last block of each stage, counted from 0 over the whole network."""
        return tuple(total - 1 for total in accumulate(self.depths))


VARIANTS = {
    "T": Variant(embed_dim=96, depths=(1, 2, 5, 2), num_heads=1),
    "S": Variant(embed_dim=96, depths=(1, 2, 11, 2), num_heads=1),
    "B": Variant(embed_dim=96, depths=(2, 3, 16, 3), num_heads=1),
    "L": Variant(embed_dim=144, depths=(2, 6, 36, 4), num_heads=2),
    "H": Variant(embed_dim=192, depths=(4, 8, 60, 8), num_heads=3),
}

# Arguments of a ViT-B (Dosovitskiy et al., ICLR 2021) for either backbone class: 12 blocks of one
# width on one grid, without pooling. Its four quarters are the stages of hybrid window attention
# and of a feature pyramid. Absolute position, as the paper's FLOPs are those without relative one.
VIT_B = dict(
    embed_dim=768,
    num_heads=12,
    last_block_indexes=(2, 5, 8, 11),
    width_growth=1,
    halving_blocks=(),
    full_pooling="",
    residual_pooling=False,
    patch_kernel=(16, 16),
    patch_stride=(16, 16),
    patch_padding=(0, 0),
    use_abs_pos=True,
    use_rel_pos=False,
)
