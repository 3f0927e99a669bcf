"""Explain why a model does not use a tensor of a file, or why a file lacks a tensor."""

import re
from collections.abc import Collection, Sequence

from mvit_det.checkpoint.layout import BACKBONE, Layout

# Buffers that a file need not have: the config sets them.
CONFIGURED = re.compile(
    r"(.+\.)?(pixel_mean|pixel_std|cell_anchors\.\d+|num_batches_tracked|data_preprocessor\.\w+)"
)
DETECTOR = re.compile(r"backbone\.fpn_.+|proposal_generator\..+|roi_heads\..+")

# Pattern of a name, canonical or in a file; whether the rule applies; the reason it gives.
Rule = tuple[str, bool, str]
POSITION = r".*\.rel_pos_.*|pos_embed.*"
# Names from known training programs for tensors that no model here has.
UNKNOWN: Sequence[Rule] = (
    (r".*(mask_token|pred_head|hogs\.|decoder).*", True, "part of masked pre-training"),
    (r".*dec_pos_embed.*|(neck|target_generator)\..*", True, "part of masked pre-training"),
    (r".*\.gamma_\d", True, "layer scale, without which its network computes something else"),
    (r".*\.attn\.[qkv]\.\w+", True, "separate q, k and v projections, which are not supported"),
    (r".*data_preprocessor\..*", True, "normalisation of the input, which comes from the config"),
)


def _reason(name: str, rules: Sequence[Rule], otherwise: str) -> str:
    """Return the reason of the first rule that applies to the name, or ``otherwise``."""
    reasons = (reason for names, holds, reason in rules if holds and re.fullmatch(names, name))
    return next(reasons, otherwise)


def why_unknown(name: str, title: str) -> str:
    """Explain why a name in a file has no canonical name; ``title`` is that of the format."""
    return _reason(name, UNKNOWN, f"not a name of {title}'s MViT")


def is_configured(name: str) -> bool:
    """Return whether a tensor is not a weight: the config sets it, or it counts batches."""
    return CONFIGURED.fullmatch(name) is not None


def why_dropped(
    name: str, file: Layout | None, model: Layout | None, known: Collection[str]
) -> str:
    """Explain why a model does not use a tensor of a file.

    Args:
        name: canonical name of the tensor.
        file: the network in the file; None if it is not an MViT.
        model: the network of the model; None if it is not an MViT.
        known: canonical names of the model.
    """
    otherwise = "the model has no tensor of this name"
    if file is None or model is None:
        return otherwise
    if _is_block_missing(name, model):
        return f"the model has {sum(model.depths)} blocks"
    is_detector = any(map(DETECTOR.fullmatch, known))
    heads = "the model has other heads" if is_detector else "a detector's head, not the model's"
    has_scales = any(key.startswith("scale") for key in known)
    rules = (
        ("cls_token|pos_embed_class", not model.class_token, "the model has no class token"),
        (r"norm\..+", has_scales, "the model has a norm per feature map instead"),
        (r"head\..+", True, "the model has no classification head"),
        (DETECTOR.pattern, True, heads),
        ("scale.+", True, "the model does not return this feature map"),
        (".*rel_pos_t|pos_embed_temporal", model.axes == 2, "the model takes images"),
        (POSITION, True, "the model has no such position embedding"),
        (CONFIGURED.pattern, True, "comes from the config"),
    )
    return _reason(name, rules, otherwise)


def why_missing(name: str, file: Layout | None, model: Layout | None) -> str:
    """Explain why a file lacks a tensor of the model.

    Args:
        name: canonical name of the tensor.
        file: the network in the file; None if it is not an MViT.
        model: the network of the model; None if it is not an MViT.
    """
    otherwise = "the file has no tensor of this name"
    if file is None or model is None:
        return otherwise
    if _is_block_missing(name, file):
        return f"the file has {sum(file.depths)} blocks"
    rules = (
        ("cls_token", True, "the file has no class token"),
        ("scale.+", True, "the file has no norms of feature maps"),
        (".*rel_pos_t", file.axes == 2, "the file is for images"),
        (POSITION, True, "the file has no such position embedding"),
        (".+", not BACKBONE.fullmatch(name), "the file has no such head"),
    )
    return _reason(name, rules, otherwise)


def _is_block_missing(name: str, layout: Layout) -> bool:
    """Return whether the name belongs to a block that the network does not have."""
    block = re.match(r"blocks\.(\d+)\.", name)
    return block is not None and int(block[1]) >= sum(layout.depths)
