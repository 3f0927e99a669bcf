"""The five model sizes of the paper (Table 1)."""

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
