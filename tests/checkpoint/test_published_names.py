"""Every name in the published files of PySlowFast and MMAction2 is translated, both ways.

The names are those that the code of the publishers gives to these models
(``tests/golden/make_checkpoint_keys.py``).
"""

import pytest
import torch
from golden.make_checkpoint_keys import read_keys
from weight_files import clip_classifier

from mvit_det.backbone import VARIANTS
from mvit_det.checkpoint import fit
from mvit_det.checkpoint.converting import translate
from mvit_det.checkpoint.formats import FORMATS
from mvit_det.checkpoint.published import PUBLISHED
from mvit_det.checkpoint.weights import Weights, from_content

KEYS = read_keys()
PRETRAINING = ("mask_token", "hogs.", "pred_head.")
PRETRAINING += ("backbone.mask_token", "neck.", "target_generator.")
# Published names whose models other code bases have too -> (letter, clip).
CLIPS = {
    "mvitv2_s_16x4_k400": ("S", (16, 224, 224)),
    "mvitv2_b_32x3_k400": ("B", (32, 224, 224)),
    "mvitv2_l_40x3_k400": ("L", (40, 312, 312)),
    "mvitv2_s_16x4_ssv2": ("S", (16, 224, 224)),
    "mvitv2_b_32x3_ssv2": ("B", (32, 224, 224)),
    "mvitv2_l_40x3_ssv2": ("L", (40, 312, 312)),
}
TWINS = {
    "mvitv2_s_16x4_k400": "mmaction2/mvit-small-p244_16x4x1_kinetics400-rgb",
    "mvitv2_b_32x3_k400": "mmaction2/mvit-base-p244_32x3x1_kinetics400-rgb",
    "mvitv2_l_40x3_k400": "mmaction2/mvit-large-p244_40x3x1_kinetics400-rgb",
    "mvitv2_s_16x4_ssv2": "mmaction2/mvit-small-p244_u16_sthv2-rgb",
    "mvitv2_b_32x3_ssv2": "mmaction2/mvit-base-p244_u32_sthv2-rgb",
    "mvitv2_l_40x3_ssv2": "mmaction2/mvit-large-p244_u40_sthv2-rgb",
}


def format_of(model: str) -> str:
    return PUBLISHED[model].format if model in PUBLISHED else "pyslowfast"


def published_tensors(model: str) -> dict[str, torch.Tensor]:
    """Names and shapes of a file, on the meta device."""
    return {name: torch.empty(shape, device="meta") for name, shape in KEYS[model].items()}


def weights_of(model: str) -> Weights:
    """Make a file with these names and shapes on the meta device."""
    return from_content({FORMATS[format_of(model)].wrapper: published_tensors(model)}, model)


def shapes(tensors) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in tensors.items()}


def test_every_published_file_of_these_formats_is_listed():
    listed = {name for name, row in PUBLISHED.items() if row.format in ("pyslowfast", "mmaction2")}
    assert set(KEYS) - set(PUBLISHED) == {"images T", "images S"}
    assert set(KEYS) & set(PUBLISHED) == listed


@pytest.mark.parametrize("model", KEYS)
def test_every_name_is_translated_in_both_directions(model):
    weights = weights_of(model)
    assert weights.format == format_of(model)
    pretraining = {name for name in KEYS[model] if name.startswith(PRETRAINING)}
    assert set(weights.left_out) == pretraining
    assert bool(pretraining) == ("maskfeat_" in model)
    back, _, left_out = translate(weights, weights.format)
    # MMSelfSup's norm gets MMAction2's name
    rest = {
        name.replace("backbone.norm2.", "backbone.norm3."): shape
        for name, shape in KEYS[model].items()
        if name not in pretraining
    }
    assert left_out == {} and shapes(back) == rest


def test_the_last_norm_of_several_is_that_of_the_head():
    """MMAction2 numbers them by stage, and MMSelfSup's MaskFeat counts a stage less."""
    model = "mmaction2/mvit-small-p244_16x4x1_kinetics400-rgb"
    several = {"backbone.norm2.weight": torch.empty(384), **published_tensors(model)}
    weights = from_content({"state_dict": several}, model)
    assert weights.sources["norm.weight"] == "backbone.norm3.weight"
    assert list(weights.left_out) == ["backbone.norm2.weight"]


@pytest.mark.parametrize("ours", TWINS)
def test_pyslowfast_and_mmaction2_translate_into_each_other(ours):
    theirs = TWINS[ours]
    there, _, left_out = translate(weights_of(ours), "mmaction2")
    assert left_out == {} and shapes(there) == KEYS[theirs]
    here, _, left_out = translate(weights_of(theirs), "pyslowfast")
    assert left_out == {} and shapes(here) == KEYS[ours]


@pytest.mark.parametrize("model", [*CLIPS, *(TWINS[name] for name in CLIPS)])
def test_they_fill_our_models_completely(model):
    names = {theirs: ours for ours, theirs in TWINS.items()}
    letter, clip = CLIPS[names.get(model, model)]
    row, weights = VARIANTS[letter], weights_of(model)
    with torch.device("meta"):
        ours = clip_classifier(
            weights.layout.classes,
            input_size=clip,
            embed_dim=row.embed_dim,
            num_heads=row.num_heads,
            last_block_indexes=row.last_block_indexes,
        ).state_dict()
    fitted = fit(weights, ours)
    assert fitted.report.complete and not fitted.report.resized and not fitted.report.dropped
    assert shapes(fitted.state) == shapes(ours)
    assert (weights.layout.variant, weights.layout.expand_in) == (letter, "attention")


@pytest.mark.parametrize(
    "model, variant, expand_in, axes",
    [
        ("images T", "T", "attention", 2),
        ("images S", "S", "attention", 2),
        ("mvitv2_s_16x4_maskfeat_k400", "S", "mlp", 3),
        ("mvitv2_l_16x4_maskfeat_k400", "L", "mlp", 3),
        (
            "mmaction2/mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb",
            "S",
            "mlp",
            3,
        ),
        ("mmselfsup/maskfeat_mvit-small_16xb32-amp-coslr-300e_k400", "S", "mlp", 3),
    ],
)
def test_the_network_is_inferred_from_the_file(model, variant, expand_in, axes):
    layout = weights_of(model).layout
    assert (layout.variant, layout.expand_in, layout.axes) == (variant, expand_in, axes)
