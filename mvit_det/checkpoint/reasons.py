"""Why a tensor of a file finds no place in a model, or a tensor of a model none in a file."""

import re
from collections.abc import Collection

from mvit_det.checkpoint.layout import BACKBONE, Layout

# What a model holds beside its weights and a file need not have: Detectron2 sets it by its config.
CONFIGURED = re.compile(
    r"(.+\.)?(pixel_mean|pixel_std|cell_anchors\.\d+|num_batches_tracked|data_preprocessor\.\w+)"
)
DETECTOR = re.compile(r"backbone\.fpn_.+|proposal_generator\..+|roi_heads\..+")


# Names that known training programs give to what no model here has.
UNKNOWN = (
    (r".*(mask_token|pred_head|hogs\.|decoder|dec_pos_embed).*", "part of masked pre-training"),
    (r".*\.gamma_\d", "layer scale, without which its network computes something else"),
    (r".*\.attn\.[qkv]\.\w+", "q, k and v apart, which is not supported"),
    (r".*data_preprocessor\..*", "normalisation of the input, which comes from the config"),
)


def why_unknown(name: str, title: str) -> str:
    """Why a name of a file has no canonical name; ``title`` is its format's."""
    for pattern, reason in UNKNOWN:
        if re.fullmatch(pattern, name):
            return reason
    return f"not a name of {title}'s MViT"


def is_configured(name: str) -> bool:
    """Whether a tensor comes from the config or counts batches, and is no weight."""
    return CONFIGURED.fullmatch(name) is not None


def why_dropped(
    name: str, file: Layout | None, model: Layout | None, known: Collection[str]
) -> str:
    """Why a model has no place for a tensor.

    Args:
        name: canonical name of the tensor.
        file, model: the networks on both sides.
        known: canonical names of the model.
    """
    if file is None or model is None:
        return "the model has no tensor of this name"
    block = re.match(r"blocks\.(\d+)\.", name)
    if block and int(block[1]) >= sum(model.depths):
        return f"the model has {sum(model.depths)} blocks"
    if name in ("cls_token", "pos_embed_class") and not model.class_token:
        return "the model has no class token"
    if name.startswith("norm.") and any(key.startswith("scale") for key in known):
        return "the model has a norm per feature map instead"
    if name.startswith("head."):
        return "the model has no head for classes"
    if DETECTOR.fullmatch(name):
        return "a detector's head, the model is none" if not _detects(known) else _OTHER_HEADS
    if name.startswith("scale"):
        return "the model returns no such feature map"
    if (name.endswith("rel_pos_t") or name == "pos_embed_temporal") and model.axes == 2:
        return "the model takes images"
    if ".rel_pos_" in name or name.startswith("pos_embed"):
        return "the model has no such position embedding"
    if is_configured(name):
        return "comes from the config"
    return "the model has no tensor of this name"


_OTHER_HEADS = "the model has other heads"


def why_missing(name: str, file: Layout | None, model: Layout | None) -> str:
    """Why a file has nothing for a tensor of the model, by its canonical name."""
    if file is None or model is None:
        return "the file has no tensor of this name"
    block = re.match(r"blocks\.(\d+)\.", name)
    if block and int(block[1]) >= sum(file.depths):
        return f"the file has {sum(file.depths)} blocks"
    if name == "cls_token":
        return "the file has no class token"
    if name.startswith("scale"):
        return "norm of a feature map, the file has none"
    if name.endswith("rel_pos_t") and file.axes == 2:
        return "the file is for images"
    if ".rel_pos_" in name or name.startswith("pos_embed"):
        return "the file has no such position embedding"
    if not BACKBONE.fullmatch(name):
        return "the file has no such head"
    return "the file has no tensor of this name"


def _detects(known: Collection[str]) -> bool:
    return any(DETECTOR.fullmatch(name) for name in known)
