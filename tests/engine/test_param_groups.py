"""Decay and learning rate of every parameter, against a table written by hand."""

import pytest
import torch
from detectron2.modeling import FPN
from torch import nn

from mvit_det import detection
from mvit_det.engine.param_groups import classification_parameters
from mvit_det.errors import UserError
from mvit_det.recognition import MViT, Recognizer

# Does it decay? What stands outside the blocks also has its layer, for 4 blocks.
OUTSIDE = {
    "backbone.cls_token": (0, True),
    "backbone.pos_embed": (0, True),
    "backbone.patch_embed.proj.weight": (0, True),
    "backbone.patch_embed.proj.bias": (0, False),
    "norm.weight": (5, False),
    "norm.bias": (5, False),
    "head.projection.weight": (5, True),
    "head.projection.bias": (5, False),
}
# What stands in a block, in its layer.
MATRICES = "attn.qkv attn.proj attn.pool_q attn.pool_k attn.pool_v mlp.fc1 mlp.fc2".split()
NORMS = "norm1 norm2 attn.norm_q attn.norm_k attn.norm_v".split()
VECTORS = [f"{norm}.{leaf}" for norm in NORMS for leaf in ("weight", "bias")]
VECTORS += ["attn.qkv.bias", "attn.proj.bias", "mlp.fc1.bias", "mlp.fc2.bias"]
TABLES = ["attn.rel_pos_h", "attn.rel_pos_w"]
IN_BLOCK = dict.fromkeys([f"{name}.weight" for name in MATRICES] + TABLES, True)
IN_BLOCK |= dict.fromkeys(VECTORS, False)
WIDENING = {"proj.weight": True, "proj.bias": False}  # of blocks 1 and 3


def table() -> dict[str, tuple[int, bool]]:
    """name -> (layer, decays) of the classifier below."""
    expected = dict(OUTSIDE)
    for block in range(4):
        rows = {**IN_BLOCK, **(WIDENING if block in (1, 3) else {})}
        expected |= {f"backbone.blocks.{block}.{name}": (block + 1, d) for name, d in rows.items()}
    return expected


def classifier() -> Recognizer:
    backbone = MViT(
        input_size=(32, 32),
        embed_dim=8,
        last_block_indexes=(0, 2, 3),
        class_token=True,
        use_abs_pos=True,
    )
    return Recognizer(backbone, num_classes=3)


def by_name(model: nn.Module, **options) -> dict[str, tuple[float, float]]:
    """name -> (learning rate, weight decay) in an optimizer with lr 0.5 and weight_decay 0.1."""
    groups = classification_parameters(model, 0.5, **options)
    optimizer = torch.optim.AdamW(groups, lr=0.5, weight_decay=0.1)
    names = {id(p): name for name, p in model.named_parameters()}
    listed = [
        (names[id(p)], (group["lr"], group["weight_decay"]))
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    assert len(dict(listed)) == len(listed)
    return dict(listed)


@pytest.mark.parametrize("layer_decay", [1.0, 0.75])
def test_every_parameter_decays_and_learns_as_in_the_table(layer_decay):
    assert by_name(classifier(), layer_decay=layer_decay) == {
        name: (pytest.approx(0.5 * layer_decay ** (5 - layer)), 0.1 if decays else 0.0)
        for name, (layer, decays) in table().items()
    }


def test_positions_and_class_token_are_spared_by_one_switch():
    before, after = by_name(classifier()), by_name(classifier(), decay_positions=False)
    changed = {name for name in before if before[name] != after[name]}
    positions = {f"backbone.blocks.{b}.attn.rel_pos_{axis}" for b in range(4) for axis in "hw"}
    assert changed == {"backbone.cls_token", "backbone.pos_embed", *positions}
    assert {after[name] for name in changed} == {(0.5, 0.0)}


def test_there_are_no_more_groups_than_needed():
    model = classifier()
    assert len(classification_parameters(model, 0.1)) == 2
    # two for each of: the stem, four blocks, everything after them
    assert len(classification_parameters(model, 0.1, layer_decay=0.5)) == 12
    model.backbone.requires_grad_(False)
    assert sum(len(g["params"]) for g in classification_parameters(model, 0.1)) == 4


def test_layers_of_a_detector_are_those_of_its_backbone():
    bottom_up = detection.MViT(embed_dim=8, depth=4, last_block_indexes=(0, 1, 2, 3))
    pyramid = FPN(bottom_up, ["scale2", "scale3"], out_channels=8)
    model = nn.ModuleDict({"backbone": pyramid, "roi_heads": nn.Linear(2, 2)})
    rates = {name: lr for name, (lr, _) in by_name(model, layer_decay=0.5).items()}
    assert rates["backbone.bottom_up.patch_embed.proj.bias"] == 0.5 * 0.5**5
    for block in range(4):
        rate = rates[f"backbone.bottom_up.blocks.{block}.mlp.fc1.weight"]
        assert rate == 0.5 * 0.5 ** (4 - block)
    after = ("bottom_up.scale2_norm.weight", "fpn_lateral2.weight", "fpn_output3.bias")
    assert {rates[f"backbone.{name}"] for name in after} == {rates["roi_heads.bias"]} == {0.5}


@pytest.mark.parametrize("decay", [0.0, 1.5, -0.1])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(UserError, match=rf"layer_decay={decay} must be in \(0, 1\]"):
        classification_parameters(classifier(), 0.1, layer_decay=decay)


def test_a_model_without_blocks_has_no_layers():
    assert len(classification_parameters(nn.Linear(2, 2), 0.1)) == 2
    with pytest.raises(UserError, match="has no trainable MViT.*layer_decay=1"):
        classification_parameters(nn.Linear(2, 2), 0.1, layer_decay=0.5)
