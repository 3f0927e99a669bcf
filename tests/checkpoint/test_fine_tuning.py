"""Published files as starting points of models for clips, by names and shapes alone."""

from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import LazyConfig, instantiate
from golden.make_backbone import scaled, seeded
from golden.make_checkpoint_keys import read_keys
from shipped_configs import shipped_config
from test_published_names import weights_of
from torchvision.models.video import mvit_v1_b
from weight_files import classifier, clip_classifier, mvit_names

from mvit_det.backbone import VARIANTS
from mvit_det.checkpoint import fit
from mvit_det.checkpoint.__main__ import describe_weights
from mvit_det.checkpoint.converting import translate
from mvit_det.checkpoint.published import PUBLISHED
from mvit_det.checkpoint.weights import Weights, from_content
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.errors import UserError
from mvit_det.recognition import CLIP_ARGUMENTS, ClassifierMViT, Recognizer

ROOT = Path(__file__).resolve().parents[2]

# Detectron2's zoo has copies of seven of them.
IMAGES = {
    name: row
    for name, row in PUBLISHED.items()
    if "ImageNet" in row.what and not row.source.endswith("projects/MViTv2")
}
CLIPS = [(16, 224, 224), (32, 224, 224), (40, 312, 312)]
# At 224 pixels only the first block of stage 3 has another table, since it has half as many keys.
# Rows of images at 224 -> rows of clips at 312.
TABLES_AT_312 = {111: 155, 55: 77, 27: 37, 13: 17}


@cache
def published(name: str) -> Weights:
    """Make a published file for images on the meta device."""
    row = IMAGES[name]
    letter, in_21k = row.what[0], "21K" in row.what
    options = dict(class_token=in_21k, expand_in="mlp" if letter == "L" and not in_21k else None)
    model = recognizer(letter, (224, 224), 19168 if in_21k else 1000, **options)
    weights = from_content(mvit_names(model), name)
    return from_content(translate(weights, row.format)[0], name)


@cache
def recognizer(letter, size, classes, *, class_token=True, expand_in=None) -> Recognizer:
    """Build a model of the paper on the meta device."""
    row = VARIANTS[letter]
    kind = CLIP_ARGUMENTS if len(size) == 3 else {}
    options = dict(
        embed_dim=row.embed_dim,
        num_heads=row.num_heads,
        last_block_indexes=row.last_block_indexes,
        expand_in=expand_in or "attention",
        **{**kind, "class_token": class_token},
    )
    with torch.device("meta"):
        return Recognizer(ClassifierMViT(size, **options), num_classes=classes)


@pytest.mark.parametrize("name", IMAGES)
def test_a_published_image_file_starts_a_model_for_clips(name):
    weights, letter = published(name), IMAGES[name].what[0]
    depth = VARIANTS[letter].depth
    for size in CLIPS[::2] if letter in "SBL" else CLIPS[:1]:
        model = recognizer(letter, size, 400, expand_in=weights.layout.expand_in)
        report = fit(weights, model.state_dict()).report
        heads = [f"head.projection.{leaf}" for leaf in ("weight", "bias")]
        reason = f"{weights.layout.classes} classes, the model has 400"
        assert report.mismatched == dict.fromkeys(heads, reason) and not report.dropped
        without = {"backbone.cls_token": "the file has no class token"}
        without = {} if weights.layout.class_token else without
        assert report.missing == without
        assert report.backbone_share == 1 - len(without) / len(report.backbone)
        assert len(report.zeroed) == depth
        deep = [n for n in report.resized if n.endswith(("pool_q.weight", "proj.weight"))]
        assert len(deep) == 1 + depth
        tables = {n: note for n, note in report.resized.items() if "rel_pos" in n}
        assert tables == expected_tables(weights, letter, size)
        assert len(report.resized) == 1 + 3 * depth + len(tables)


def expected_tables(weights, letter, size) -> dict[str, str]:
    first_of_stage_3 = VARIANTS[letter].last_block_indexes[1] + 1
    expected = {}
    for name, table in weights.tensors.items():
        if not name.endswith(("rel_pos_h", "rel_pos_w")):
            continue
        old = len(table)
        new = 27 if name.startswith(f"blocks.{first_of_stage_3}.") else old
        new = new if size[1] == 224 else TABLES_AT_312[new]
        if new != old:
            expected[f"backbone.{name}"] = f"{old} -> {new} rows, linear"
    return expected


def test_the_two_layouts_of_l_are_distinguished():
    assert len(IMAGES) == 7 + 7
    attention = recognizer("L", CLIPS[0], 400).state_dict()
    with pytest.raises(UserError, match="widens .* in the MLP.*add model.backbone.expand_in=mlp"):
        fit(published("mvitv2_l_in1k"), attention)
    assert fit(published("mvitv2_l_in21k"), attention).report.backbone_share == 1


# ---------------------------------------------------------------------------- from clips to clips

HEAD = ["head.projection.weight", "head.projection.bias"]


def test_more_frames_and_pixels_resize_every_table():
    short, long = recognizer("L", CLIPS[0], 400), recognizer("L", CLIPS[2], 400)
    weights = from_content(mvit_names(short), "mine.pyth")
    report = fit(weights, long.state_dict()).report
    assert report.complete and not report.dropped and not report.zeroed
    times = {n: note for n, note in report.resized.items() if n.endswith("_t")}
    assert len(times) == 48 and set(times.values()) == {"15 -> 39 rows, linear"}
    space = {n: note for n, note in report.resized.items() if n not in times}
    assert space == expected_tables(weights, "L", CLIPS[2])


@pytest.mark.parametrize("letter, size, classes", zip("SBL", CLIPS, (174, 80, 174)))
def test_from_kinetics_to_something_something_and_ava(letter, size, classes):
    clips = {"S": "s_16x4", "B": "b_32x3", "L": "l_40x3"}[letter]
    weights = weights_of(f"mvitv2_{clips}_k400")
    report = fit(weights, recognizer(letter, size, classes).state_dict()).report
    reason = f"400 classes, the model has {classes}"
    assert report.mismatched == dict.fromkeys(HEAD, reason)
    assert not (report.missing or report.resized or report.zeroed or report.dropped)
    title = "do not fit, keep their initial values, 2:"
    assert f"{title}\n  head.projection.{{weight,bias}}: {reason}" in str(report)


@pytest.mark.parametrize("letter", "SL")
def test_masked_pre_training_starts_a_classifier(letter):
    weights = weights_of(f"mvitv2_{letter.lower()}_16x4_maskfeat_k400")
    # its last stage is not pooled, so its tables are as long as those of the stage before
    blocks = {"S": [15], "L": [45, 46, 47]}[letter]
    report = fit(weights, recognizer(letter, CLIPS[0], 400, expand_in="mlp").state_dict()).report
    tables = [f"backbone.blocks.{n}.attn.rel_pos_{axis}" for n in blocks for axis in "hw"]
    assert report.resized == dict.fromkeys(tables, "27 -> 13 rows, linear")
    norm = ["norm.weight", "norm.bias"]
    assert report.missing == dict.fromkeys([*norm, *HEAD], "the file has no such head")
    assert set(report.dropped.values()) == {"part of masked pre-training"}
    assert {name.split(".")[0] for name in report.dropped} == {"mask_token", "hogs", "pred_head"}
    assert not report.mismatched and report.backbone_share == 1
    with pytest.raises(UserError, match="add model.backbone.expand_in=mlp to the command"):
        fit(weights, recognizer(letter, CLIPS[0], 400).state_dict())


def test_each_tensor_of_mmselfsups_backbone_arrives(tmp_path, caplog):
    """In the model of the config that starts from it; what was for pre-training only is named."""
    cfg = shipped_config("mvitv2_s_16x4_mmselfsup_k400")
    shapes = read_keys()[cfg.train.init_checkpoint]
    file = {key: scaled(key, seeded(key, shape)) for key, shape in shapes.items()}
    torch.save({"meta": {}, "state_dict": file, "message_hub": {}}, tmp_path / "epoch_300.pth")
    model = instantiate(cfg.model)
    head = model.head.projection.weight.detach().clone()
    with caplog.at_level("INFO"):
        StrictCheckpointer(model).load(str(tmp_path / "epoch_300.pth"))
    state, left_out = model.state_dict(), set()
    for key, tensor in file.items():
        ours = key.replace("patch_embed.projection", "patch_embed.proj")
        ours = ours.replace("backbone.norm2", "norm")
        if ours not in state:
            left_out.add(key)
            continue
        if tensor.shape != state[ours].shape:  # of the last stage, as MMAction2 resizes it
            assert ours.startswith("backbone.blocks.15.attn.rel_pos_")
            size = len(state[ours])
            tensor = F.interpolate(tensor.T[None], size=size, mode="linear")[0].T
        torch.testing.assert_close(state[ours], tensor, rtol=0, atol=1e-6)
    targets = "weight_x", "weight_y", "gaussian_kernel"
    parts = {"backbone.mask_token", "neck.fc.weight", "neck.fc.bias"}
    assert left_out == parts | {f"target_generator.{name}" for name in targets}
    sentence = "backbone.mask_token, neck.fc.{weight,bias}, "
    sentence += f"target_generator.{{{','.join(targets)}}}: part of masked pre-training"
    assert f"not used, 6:\n  {sentence}\n" in caplog.text + "\n"
    filled = {name for name in state if name.startswith(("backbone.", "norm."))}
    assert len(filled) == len(file) - len(left_out)
    assert torch.equal(model.head.projection.weight, head)


@pytest.mark.parametrize("expand_in", ["attention", "mlp"])
def test_mvitv1_is_another_architecture(expand_in):
    with torch.device("meta"):
        state = mvit_v1_b().state_dict()
    model = recognizer("S", CLIPS[0], 400, expand_in=expand_in)
    weights = from_content(state, "mvit_v1_b.pth")
    report = fit(weights, model.state_dict()).report
    assert report.dropped["pos_encoding.temporal_pos"] == (
        "the model has no such position embedding"
    )
    assert report.backbone_share < 0.85 < StrictCheckpointer.MIN_BACKBONE_SHARE


CONFIGS = [
    path for kind in ("kinetics", "ssv2", "ava") for path in ROOT.glob(f"configs/{kind}/*.py")
]


@pytest.mark.parametrize("path", sorted(CONFIGS), ids=lambda path: path.stem)
def test_every_config_can_start_from_its_file(path):
    cfg = LazyConfig.load(str(path))
    name = cfg.train.init_checkpoint
    if name not in PUBLISHED:  # from scratch, or from the output of another config
        assert name == "" or list(ROOT.glob(f"configs/*/{Path(name).parent.name}.py"))
        return
    weights = published(name) if name in IMAGES else weights_of(name)
    with torch.device("meta"):
        model = instantiate(cfg.model)
    report = fit(weights, model.state_dict(), cfg.train.inflation).report
    # models of ImageNet-1K lack the class token, MaskFeat's the head
    missing = set() if weights.layout.class_token else {"backbone.cls_token"}
    rest = {*HEAD, "norm.weight", "norm.bias"} - weights.tensors.keys()
    missing |= set() if weights.layout.classes else rest
    assert set(report.missing) == missing
    equal_heads = weights.layout.classes in (0, model.num_classes)
    assert set(report.mismatched) == (set() if equal_heads else set(HEAD))
    assert len(report.zeroed) == (len(model.backbone.blocks) if name in IMAGES else 0)


# --------------------------------------------------------------------- the output of the command


@pytest.mark.parametrize(
    "name, content, description",
    [
        ("mine.pth", {}, "4 frames, 64 x 64 pixels"),
        ("mine.pth", {"cfg": "DATA:\n  SAMPLING_RATE: 3\n"}, "4 x 3 (T x tau), 64 x 64 pixels"),
        ("MViTv2_S_16x4_k400_f302660347.pyth", {}, "4 x 4 (T x tau), 64 x 64 pixels"),
        ("mvit-small-p244_u16_sthv2-rgb_20221021-65ecae7d.pth", {}, "4 frames, 64 x 64 pixels"),
    ],
)
def test_the_command_describes_the_clip(name, content, description):
    state = {"model_state": mvit_names(clip_classifier()), **content}
    lines = describe_weights(from_content(state, f"folder/{name}"))
    assert f"clip:             {description}" in lines
    lines = describe_weights(from_content(mvit_names(classifier()), name))
    assert not any(line.startswith("clip:") for line in lines)
