"""The published weight formats: one table of names for each, used in both directions.

*Canonical* names are those of facebookresearch/mvit; detector heads keep Detectron2's names. In
the tables below

    {vit}          prefix of the transformer, such as `backbone.bottom_up.`
    {n}            block index over the network; {s}, {b}: stage index, block index within it
    {x}, {a}, {i}  q, k or v; axis t, h or w; a number
    {j}            axes of a joint table of position, or k_ or v_ and axes: only here
    {p}            weight or bias
    {where}        where the block widens its tokens, attn or mlp
    {other}        any name without a row
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from mvit_det.checkpoint.layout import STEM, Layout, backbone_prefix
from mvit_det.checkpoint.reasons import DETECTOR

PLACEHOLDERS = {
    "vit": r"(?:.+\.)?",
    "n": r"\d{1,3}",  # no more, since what a file lacks is listed by counting up to its blocks
    "s": r"\d",
    "b": r"\d{1,3}",
    "i": r"\d",
    "x": "[qkv]",
    "a": "[thw]",
    "j": "(?:[kv]_)?(?:[thw]|th|hw|thw)",
    "p": "weight|bias",
    "where": "attn|mlp",
    "other": ".+",
}
CANONICAL = (
    "patch_embed.proj.{p}",
    "cls_token",
    "pos_embed",
    "pos_embed_spatial",
    "pos_embed_temporal",
    "pos_embed_class",
    "blocks.{n}.norm{i}.{p}",
    "blocks.{n}.attn.qkv.{p}",
    "blocks.{n}.attn.proj.{p}",
    "blocks.{n}.attn.pool_{x}.weight",
    "blocks.{n}.attn.norm_{x}.{p}",
    "blocks.{n}.attn.rel_pos_{a}",
    "blocks.{n}.attn.rel_pos_{j}",
    "blocks.{n}.mlp.fc1.{p}",
    "blocks.{n}.mlp.fc2.{p}",
    "blocks.{n}.proj.{p}",
    "norm.{p}",
    "head.projection.{p}",
)
HEADS = ("norm.{p}", "head.projection.{p}")
# Names that most formats share, after the prefix.
_PREFIXED = {name: "{vit}" + name for name in CANONICAL if name not in HEADS}
_STAGED = {
    name: name.replace("blocks.{n}", "stages.{s}.blocks.{b}")
    for name in CANONICAL
    if name.startswith("blocks.")
}
# Norms of the feature maps, and the rest of a detector.
_DETECTOR = {"scale{i}_norm.{p}": "{vit}scale{i}_norm.{p}", "{other}": "{other}"}
_JOINT_POSITION = dict.fromkeys(("pos_embed_spatial", "pos_embed_temporal", "pos_embed_class"))


@dataclass(frozen=True)
class Format:
    """One family of files.

    Attributes:
        title: the code base it belongs to.
        wrapper: key of the file that holds the tensors; "" if they are the whole file.
        changes: canonical name -> name in this format, where they differ; None if it has no such
            tensor.
        drops: canonical name of an optional tensor -> why this format lacks it.
        prefix: prefix of the transformer's names in a file written for it.
        axes: axes of its inputs: 2 for images (H, W), 3 for clips (T, H, W).
        expand_in: where its models can widen tokens.
        needs_class_token: whether all its models have a class token.
        unit_axes: canonical name -> number of leading axes of length 1 that its tensors lack.
        alternatives: canonical name -> its name in files that lack the usual one.
        read_only: canonical names that are read, but not written, as its code base has none.
        suffixes: of its files, the usual one first.
        companions: other entries that its readers expect.
    """

    title: str
    wrapper: str
    changes: Mapping[str, str | None]
    drops: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    axes: tuple[int, ...] = (2,)
    expand_in: tuple[str, ...] = ("attention", "mlp")
    needs_class_token: bool = False
    unit_axes: Mapping[str, int] = field(default_factory=dict)
    alternatives: Mapping[str, str] = field(default_factory=dict)
    read_only: Sequence[str] = ("blocks.{n}.attn.rel_pos_{j}",)
    suffixes: tuple[str, ...] = (".pth", ".pyth", ".pt")
    companions: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[str, str | None]:
        """The complete table: canonical name -> name in this format, or None."""
        return {name: name for name in CANONICAL} | dict(self.changes)

    def to_canonical(self, names: Iterable[str]) -> dict[str, str]:
        """Map names in a file to canonical names; names unknown to this format are left out."""
        names = list(names)
        known = {ours: theirs for ours, theirs in self.rows.items() if theirs}
        for ours, theirs in self.alternatives.items():
            if not any(map(_pattern(known[ours]).fullmatch, names)):
                known[ours] = theirs
        stems = filter(None, map(_pattern(known["patch_embed.proj.{p}"]).fullmatch, names))
        prefix = next((match.groupdict().get("vit", "") for match in stems), "")
        blocks: dict[int, int] = {}  # per stage, where blocks are counted within stages
        for name in names:
            if match := re.match(r"stages\.(\d)\.blocks\.(\d{1,3})\.", name):
                stage, block = map(int, match.groups())
                blocks[stage] = max(blocks.get(stage, 0), block + 1)

        def fill_in(values: dict[str, str]) -> dict[str, Any]:
            if "s" not in values:
                return values
            before = sum(blocks.get(stage, 0) for stage in range(int(values["s"])))
            return {**values, "n": before + int(values["b"])}

        rows = [(_pattern(theirs.replace("{vit}", prefix)), ours) for ours, theirs in known.items()]
        return _rename(names, rows, fill_in)

    def from_canonical(self, names: Iterable[str], layout: Layout, prefix: str) -> dict[str, str]:
        """Map canonical names to names in this format; names that it lacks are left out.

        Args:
            names: canonical names.
            layout: the network, whose depths assign blocks to stages.
            prefix: prefix of the transformer's names.
        """

        def fill_in(values: dict[str, str]) -> dict[str, Any]:
            if "n" not in values:
                return {"vit": prefix, **values}
            block = int(values["n"])
            stage = max(s for s, start in enumerate(layout.starts) if start <= block)
            where = "mlp" if layout.expand_in == "mlp" else "attn"
            within = {"s": stage, "b": block - layout.starts[stage], "where": where}
            return {"vit": prefix, **values, **within}

        written = self.rows | dict.fromkeys(self.read_only)
        rows = [(_pattern(ours), theirs) for ours, theirs in written.items()]
        return _rename(names, rows, fill_in)

    def why_left_out(self, name: str) -> str | None:
        """Explain why this format lacks an optional canonical name; None if it is required."""
        for row, reason in self.drops.items():
            if _pattern(row).fullmatch(name):
                return reason
        return None


def _rename(
    names: Iterable[str],
    rows: Iterable[tuple[re.Pattern, str | None]],
    fill_in: Callable[[dict[str, str]], dict[str, Any]],
) -> dict[str, str]:
    """Rename by the first row that matches; names without a row, or with None, are left out."""
    renamed = {}
    for name in names:
        for pattern, new in rows:
            if match := pattern.fullmatch(name):
                if new is not None:
                    renamed[name] = new.format(**fill_in(match.groupdict()))
                break
    return renamed


def _pattern(row: str) -> re.Pattern:
    """Compile a row of a table into a regular expression with one group per placeholder."""
    pieces = re.split(r"\{(\w+)\}", row)
    for index, piece in enumerate(pieces):
        pieces[index] = f"(?P<{piece}>{PLACEHOLDERS[piece]})" if index % 2 else re.escape(piece)
    return re.compile("".join(pieces))


FORMATS = {
    "mvit": Format(
        "facebookresearch/mvit",
        "model_state",
        {**_PREFIXED, **_JOINT_POSITION},
        suffixes=(".pyth", ".pth"),
    ),
    "pyslowfast": Format(
        "PySlowFast", "model_state", _PREFIXED, axes=(2, 3), suffixes=(".pyth", ".pth")
    ),
    "detectron2": Format(
        "Detectron2",
        "model",
        {**_PREFIXED, **_JOINT_POSITION, "cls_token": None, **dict.fromkeys(HEADS), **_DETECTOR},
        drops={
            "cls_token": "its backbone has no class token",
            "norm.{p}": "its backbone has a norm per feature map instead",
            "head.projection.{p}": "its models are detectors",
        },
        prefix="backbone.bottom_up.",
        expand_in=("attention",),
        suffixes=(".pkl", ".pth"),
        # marks the names as Detectron2's, so that it does not match them heuristically
        companions={"__author__": "mvit_det"},
    ),
    "mvit_det": Format(
        "this project",
        "model",
        {**_PREFIXED, **_DETECTOR},
        prefix="backbone.",
        axes=(2, 3),
        read_only=(),
    ),
    "timm": Format(
        "timm",
        "",
        {
            **_STAGED,
            **_JOINT_POSITION,
            "blocks.{n}.proj.{p}": "stages.{s}.blocks.{b}.shortcut_proj_{where}.{p}",
            "head.projection.{p}": "head.fc.{p}",
        },
        suffixes=(".pth", ".safetensors", ".pt", ".bin"),
    ),
    "torchvision": Format(
        "torchvision",
        "",
        {
            "patch_embed.proj.{p}": "conv_proj.{p}",
            "cls_token": "pos_encoding.class_token",
            "pos_embed": None,
            "pos_embed_spatial": "pos_encoding.spatial_pos",
            "pos_embed_temporal": "pos_encoding.temporal_pos",
            "pos_embed_class": "pos_encoding.class_pos",
            "blocks.{n}.attn.proj.{p}": "blocks.{n}.attn.project.0.{p}",
            "blocks.{n}.attn.pool_{x}.weight": "blocks.{n}.attn.pool_{x}.pool.weight",
            "blocks.{n}.attn.norm_{x}.{p}": "blocks.{n}.attn.pool_{x}.norm_act.0.{p}",
            "blocks.{n}.mlp.fc1.{p}": "blocks.{n}.mlp.0.{p}",
            "blocks.{n}.mlp.fc2.{p}": "blocks.{n}.mlp.3.{p}",
            "blocks.{n}.proj.{p}": "blocks.{n}.project.{p}",
            "head.projection.{p}": "head.1.{p}",
        },
        axes=(3,),
        needs_class_token=True,
        unit_axes=dict(cls_token=2, pos_embed_class=2, pos_embed_spatial=1, pos_embed_temporal=1),
    ),
    "mmaction2": Format(
        "MMAction2",
        "state_dict",
        {
            **_PREFIXED,
            **_JOINT_POSITION,
            "patch_embed.proj.{p}": "{vit}patch_embed.projection.{p}",
            "norm.{p}": "{vit}norm3.{p}",
            "head.projection.{p}": "cls_head.fc_cls.{p}",
        },
        prefix="backbone.",
        axes=(3,),
        # MMSelfSup's MaskFeat, which does not pool queries in the last stage, and so counts three
        alternatives={"norm.{p}": "{vit}norm2.{p}"},
        companions={"meta": {}},
    ),
}


def recognise(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Recognise the format of a file: a key of ``FORMATS``; None if its tensors are not an MViT's.

    Args:
        tensors: name in the file -> tensor.
    """
    names = tensors.keys()
    if "conv_proj.weight" in names:
        return "torchvision"
    if any(name.endswith("patch_embed.projection.weight") for name in names):
        return "mmaction2"
    prefix = backbone_prefix(names)
    if prefix is None:
        return None
    if any(name.startswith("stages.") for name in names):
        return "timm"
    if prefix.endswith("backbone.") and not any(
        DETECTOR.fullmatch(name) or name.startswith(f"{prefix}scale") for name in names
    ):
        return "mvit_det"
    if prefix.startswith("backbone."):
        return "detectron2"
    # Both use the same names; 3-D convolutions occur in PySlowFast only.
    pools = [tensor for name, tensor in tensors.items() if ".attn.pool_" in name]
    clips = tensors[prefix + STEM].ndim == 5 or any(pool.ndim == 5 for pool in pools)
    return "pyslowfast" if clips else "mvit"
