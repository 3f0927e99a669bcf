"""The multiscale schedule: from a few numbers to the list of blocks, as plain data.

``BlockSpec`` holds what differs between blocks, ``BlockOptions`` what all blocks share.

Legend: a *grid* is the number of tokens along each axis, (H, W) for images and (T, H, W) for clips;
strides and windows are tuples of the same length. Sizes here are *nominal*, those of the input that
the network was designed for (224 pixels for every published image model); they fix the shapes of
the parameters. Any other input size runs on the same plan.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any

from torch import nn

Axes = tuple[int, ...]


@dataclass(frozen=True)
class BlockSpec:
    """All sizes of one transformer block (paper, sections 3 and 4)."""

    stage: int  # 0 to 3
    ends_stage: bool  # the output of this block is the stage's feature map
    dim_in: int  # channels that enter
    dim_attention: int  # channels of q, k and v over all heads
    dim_out: int  # channels that leave
    num_heads: int
    stride_q: Axes  # pooling stride of the queries: above 1 where a stage begins
    stride_kv: Axes  # pooling stride of keys and values, relative to the block's input
    window: Axes | None  # window in tokens of the block's input; None is full attention
    grid: Axes  # nominal grid of the block's input
    drop_path: float  # stochastic depth rate
    shifted: bool = False  # windows are shifted by half their size (Swin)
    pooled: str = "qkv"  # which of q, k and v have a pooling convolution and a norm

    @property
    def grid_q(self) -> Axes:
        """Nominal grid of the queries, rounded down as in released code; pooling rounds up."""
        return divide(self.grid, self.stride_q)

    @property
    def grid_kv(self) -> Axes:
        """Nominal grid of keys and values."""
        return divide(self.grid, self.stride_kv)


@dataclass(frozen=True)
class BlockOptions:
    """Options that all blocks of a network share."""

    pool_kernel: Axes  # of the pooling convolutions
    norm_layer: Callable[[int], nn.Module] = nn.LayerNorm  # builds a norm from its width
    act_layer: Callable[[], nn.Module] = nn.GELU  # builds the activation of the MLP
    mlp_ratio: float = 4.0  # hidden width of the MLP over the attention width
    qkv_bias: bool = True  # whether q, k and v have a bias
    use_rel_pos: bool = True  # relative position (Eq. 3 and 4)
    rel_pos_tables: Sequence[str] | None = None  # axes of each table; None: one per axis (Eq. 4)
    rel_pos_on: str = "q"  # which of q, k and v carry it (appendix A.4)
    rel_pos_zero_init: bool = True  # start its tables at zero, not at N(0, 0.02)
    residual_pooling: bool = True  # add the pooled query to the attention output (Eq. 5)
    fused_attention: bool = True  # never hold the attention map; off, the plain reference form

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any], **renamed: Any) -> "BlockOptions":
        """Pick the options from the arguments of a constructor that has them under these names.

        Args:
            arguments: ``locals()`` of that constructor.
            **renamed: options that it has under another name.

        Raises:
            KeyError: an option is in neither mapping; no option silently takes its default.
        """
        values = {**arguments, **renamed}
        return cls(**{field.name: values[field.name] for field in fields(cls)})


def divide(size: Sequence[int], stride: Sequence[int]) -> Axes:
    """Divide a size by a stride, axis by axis, rounding down but never below 1.

    Raises:
        ValueError: the numbers of axes differ.
    """
    return tuple(max(n // s, 1) for n, s in zip(size, stride, strict=True))


def multiscale_plan(
    *,
    embed_dim: int,
    num_heads: int,
    last_block_indexes: Sequence[int],
    grid: Axes,
    stride_kv: Axes,
    window: Axes | None = None,
    full_attention: Collection[int] = (),
    coarse_kv: Collection[int] = (),
    expand_in: str = "attention",
    drop_path_rate: float = 0.0,
    width_growth: int = 2,
    halving_blocks: Collection[int] | None = None,
) -> list[BlockSpec]:
    """Lay out all blocks of a multiscale vision transformer, or of a ViT.

    The first block of every stage but the first halves the spatial grid by pooling its queries and
    doubles the number of heads. The window and the key/value stride shrink with the grid (paper,
    section 4.4), so that each query attends to the same number of keys in every stage.

    Args:
        embed_dim: channels of stage 1; they double with each stage.
        num_heads: heads of stage 1; they double with each stage.
        last_block_indexes: index of the last block of each stage, counted from 0.
        grid: nominal tokens along each axis after the patch embedding.
        stride_kv: key/value pooling stride of stage 1, the adaptive stride of section 4.4.
        window: attention window in stage 1, in tokens; None for full attention everywhere.
        full_attention: blocks without windows.
        coarse_kv: blocks whose keys and values are pooled once more by 2, see the NOTE below.
        expand_in: ``"attention"`` doubles the channels in the attention of a stage's first block
            (appendix B.1), ``"mlp"`` in the MLP of the previous stage's last block (MViTv1, and the
            released ImageNet-1K weights of L).
        drop_path_rate: rate of the last block, in [0, 1]; it grows linearly from 0 over all blocks.
        width_growth: channels and heads of a stage over those of the stage before; 1 for a ViT.
        halving_blocks: blocks that pool their queries, which halves the grid; None for the first
            block of every stage but the first, () for a ViT.

    Returns:
        One ``BlockSpec`` per block, in order.

    Raises:
        ValueError: the arguments contradict each other or are out of range.
    """
    ends = [int(index) for index in last_block_indexes]
    if not len(grid) == len(stride_kv) == len(window or grid):
        raise ValueError(
            f"grid={grid}, stride_kv={stride_kv} and window={window} must have one number per axis."
        )
    _check_numbers(embed_dim, num_heads, ends, expand_in, drop_path_rate)
    depth = ends[-1] + 1
    begins = {end + 1 for end in ends[:-1]}
    halving_blocks = begins if halving_blocks is None else halving_blocks
    if not {*halving_blocks} <= {*range(depth)}:
        raise ValueError(f"halving_blocks={halving_blocks} must be from 0 to {depth - 1}.")
    ones = (1,) * len(grid)
    # Time is never pooled: only the two spatial axes, the last two, shrink.
    halving = (1,) * (len(grid) - 2) + (2, 2)

    blocks = []
    dim, heads, stage = embed_dim, num_heads, 0
    for index in range(depth):
        ends_stage = index in ends
        stride_q = halving if index in halving_blocks else ones
        stride_kv = divide(stride_kv, stride_q)
        if index in begins:
            stage += 1
            heads *= width_growth
        wider = embed_dim * width_growth**stage if expand_in == "attention" else dim
        widens_mlp = expand_in == "mlp" and ends_stage and stage + 1 < len(ends)
        dim_out = width_growth * dim if widens_mlp else wider
        # NOTE: Detectron2's release pools keys and values twice as far in the full-attention blocks
        # of strides 8 and 16, which leaves a quarter of the keys. No source says why. Published
        # detectors were trained that way, hence `coarse_kv`.
        extra = halving if index in coarse_kv else ones
        pooled_kv = tuple(s * e for s, e in zip(stride_kv, extra))
        blocks.append(
            BlockSpec(
                stage=stage,
                ends_stage=ends_stage,
                dim_in=dim,
                dim_attention=wider,
                dim_out=dim_out,
                num_heads=heads,
                stride_q=stride_q,
                stride_kv=pooled_kv,
                window=None,
                grid=grid,
                drop_path=drop_path_rate * index / max(depth - 1, 1),
            )
        )
        dim = dim_out
        # A stage's first block still works on the grid of the previous stage.
        grid = divide(grid, stride_q)
    return set_windows(blocks, window, full_attention)


def set_windows(
    plan: Sequence[BlockSpec],
    window: Axes | Sequence[Axes] | None,
    full_attention: Collection[int] = (),
    shifted: Collection[int] = (),
) -> list[BlockSpec]:
    """Let the blocks of a plan attend in windows.

    Args:
        plan: the blocks.
        window: in stage 1, in tokens; it shrinks with the grid. Or one per stage; or None for full
            attention everywhere.
        full_attention: blocks without windows.
        shifted: blocks whose windows are shifted by half their size.

    Returns:
        The blocks, otherwise unchanged.

    Raises:
        ValueError: a window is not a multiple of the pooling strides, or a stage has none.
    """
    if window is None:
        return list(plan)
    per_stage: Sequence[Any] = [] if isinstance(window[0], int) else window
    if per_stage and len(per_stage) != plan[-1].stage + 1:
        raise ValueError(f"{per_stage} must be one window, or one for each stage.")
    blocks, size = [], window
    for index, spec in enumerate(plan):
        # A stage's first block still works on the grid, and so the window, of the previous stage.
        if per_stage:
            size = tuple(n * s for n, s in zip(per_stage[spec.stage], spec.stride_q))
        own: Any = None if index in full_attention else size
        _check_window(own, spec.stride_q, spec.stride_kv, index)
        blocks.append(replace(spec, window=own, shifted=index in shifted))
        size = divide(size, spec.stride_q)  # type: ignore[arg-type]
    return blocks


def set_attention(
    plan: Sequence[BlockSpec], kind: str, window: Axes | Sequence[Axes] | None
) -> list[BlockSpec]:
    """Choose the kind of attention of a plan (paper, Table 4).

    Args:
        plan: the blocks.
        kind: ``"full"``; ``"windows"`` in all blocks; ``"swin"``, shifted in every second block; or
            ``"hwin"``, full in the last blocks of the last three stages (section 4.2).
        window: as of `set_windows`; unused by full attention.

    Returns:
        The blocks, otherwise unchanged.

    Raises:
        ValueError: the kind is not known, or its window is missing or does not fit.
    """
    ends = [index for index, spec in enumerate(plan) if spec.ends_stage]
    kinds: dict[str, dict[str, Collection[int]]] = {
        "full": dict(full_attention=range(len(plan))),
        "windows": {},
        "swin": dict(shifted=range(1, len(plan), 2)),
        "hwin": dict(full_attention=ends[1:]),
    }
    if kind not in kinds:
        raise ValueError(f"attention={kind!r} is not known: use {', '.join(map(repr, kinds))}.")
    if window is None and kind != "full":
        raise ValueError(f"attention={kind!r} needs a window: set adaptive_window_size.")
    return set_windows(plan, None if kind == "full" else window, **kinds[kind])


def set_pooling(plan: Sequence[BlockSpec], full_pooling: str) -> list[BlockSpec]:
    """Choose which of q, k and v have a pooling convolution even where its stride is 1.

    Args:
        plan: the blocks.
        full_pooling: their letters; ``"kv"`` is the paper's Table 7 without full Q pooling, and
            ``""`` with strides of 1 is a ViT.

    Returns:
        The blocks, otherwise unchanged.

    Raises:
        ValueError: ``full_pooling`` has another letter.
    """
    check_letters("full_pooling", full_pooling)

    def pooled(spec: BlockSpec) -> str:
        strides = {"q": spec.stride_q, "k": spec.stride_kv, "v": spec.stride_kv}
        return "".join(n for n, s in strides.items() if n in full_pooling or max(s) > 1)

    return [replace(spec, pooled=pooled(spec)) for spec in plan]


def plan_from_arguments(
    arguments: Mapping[str, Any], *, grid: Axes, stride_kv: Axes, coarse_kv: Collection[int] = ()
) -> list[BlockSpec]:
    """Lay out the blocks of a backbone from the arguments of its constructor.

    Args:
        arguments: ``locals()`` of a constructor that has ``attention``, ``adaptive_window_size``
            (side of a square, 0 for none, or one per stage), ``full_pooling`` and those of
            `multiscale_plan` under these names.
        grid: nominal tokens along each axis.
        stride_kv: key/value pooling stride of stage 1.
        coarse_kv: as of `multiscale_plan`.
    """
    names = "embed_dim num_heads last_block_indexes expand_in drop_path_rate width_growth"
    same = {name: arguments[name] for name in [*names.split(), "halving_blocks"]}
    plan = multiscale_plan(**same, grid=grid, stride_kv=stride_kv, coarse_kv=coarse_kv)

    def square(side: int) -> Axes:
        return (*grid[:-2], side, side)  # of clips, over all time

    side = arguments["adaptive_window_size"]
    several = not isinstance(side, int)
    window = list(map(square, side)) if several else square(side) if side else None
    plan = set_attention(plan, arguments["attention"], window)
    return set_pooling(plan, arguments["full_pooling"])


def total_stride(plan: Sequence[BlockSpec]) -> Axes:
    """Multiply the strides of the queries: tokens that enter per token that leaves, by axis."""
    return tuple(map(prod, zip(*(spec.stride_q for spec in plan))))


def check_letters(name: str, value: str, least: int = 0) -> None:
    """Check that a value names some of q, k and v once each.

    Raises:
        ValueError: it does not, or names fewer than ``least``.
    """
    if sorted({*value} & {*"qkv"}) != sorted(value) or len(value) < least:
        raise ValueError(f"{name}={value!r} must have letters of 'qkv', each at most once.")


def _check_numbers(
    embed_dim: int, num_heads: int, ends: list[int], expand_in: str, drop_path_rate: float
) -> None:
    """Check the arguments of `multiscale_plan` that are not tuples per axis.

    Raises:
        ValueError: no network can have this value.
    """
    if expand_in not in ("attention", "mlp"):
        raise ValueError(f"expand_in={expand_in!r} is not known: use 'attention' or 'mlp'.")
    if ends != sorted(set(ends)) or not ends or ends[0] < 0:
        raise ValueError(
            f"last_block_indexes={tuple(ends)} must be increasing, e.g. (0, 2, 7, 9) for MViTv2-T."
        )
    if not 0.0 <= drop_path_rate <= 1.0:
        raise ValueError(f"drop_path_rate={drop_path_rate} must be from 0 to 1.")
    if embed_dim % num_heads:
        raise ValueError(f"embed_dim={embed_dim} is not a multiple of num_heads={num_heads}.")


def _check_window(window: Axes | None, stride_q: Axes, stride_kv: Axes, index: int) -> None:
    if window and any(w % s for w, s in zip(window * 2, stride_q + stride_kv)):
        raise ValueError(
            f"The window {window} of block {index} is not a multiple of its pooling strides "
            f"{stride_q} and {stride_kv}: choose a window that is, e.g. 56 with stride 4."
        )
