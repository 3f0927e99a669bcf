"""Golden numbers of the backbone, from other people's code: features, and names of parameters.

    python tests/golden/make_backbone.py

needs the real Detectron2 and timm, and writes two files beside this script:

- ``backbone_features.json``: feature maps on small seeded images, each described by its shape, two
  means and a dozen single numbers. ``T`` is Detectron2's MViTv2-T; ``expand_in_mlp`` is a small
  classifier of timm with expansion in the MLP, which Detectron2 does not have.
- ``backbone_keys.json``: names and shapes of all parameters: T, S, B of Detectron2, and timm's L,
  which has the layout of the released ImageNet-1K weights, under the published names.

Weights and images come from numpy's legacy generator, whose stream is frozen, and each parameter
has a stream of its own, chosen by its name. So a test needs neither library, nor stored weights.
Tests import the functions of the first half; the second half is the generator.
"""

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parent
FEATURES, KEYS = FOLDER / "backbone_features.json", FOLDER / "backbone_keys.json"
COMMAND = "python tests/golden/make_backbone.py (with the real Detectron2 and timm)"
SEED = 2022
# Odd on purpose: every pooling rounds up, windows are padded, position tables are resized.
IMAGE_SIZE = (75, 101)

VARIANT_ARGUMENTS = {
    "T": dict(embed_dim=96, num_heads=1, depth=10, last_block_indexes=(0, 2, 7, 9)),
    "S": dict(embed_dim=96, num_heads=1, depth=16, last_block_indexes=(0, 2, 13, 15)),
    "B": dict(embed_dim=96, num_heads=1, depth=24, last_block_indexes=(1, 4, 20, 23)),
    "L": dict(embed_dim=144, num_heads=2, depth=48, last_block_indexes=(1, 7, 43, 47)),
    "H": dict(embed_dim=192, num_heads=3, depth=80, last_block_indexes=(3, 11, 71, 79)),
}
# The small classifier: at its nominal size, as timm does not resize position tables.
SMALL_DEPTHS, SMALL_WIDTH, SMALL_SIZE = (1, 2, 2, 1), 24, 64


def layer_norm(dim: int) -> nn.LayerNorm:
    """The norm of all published weights."""
    return nn.LayerNorm(dim, eps=1e-6)


def seeded(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal numbers that depend on nothing but a name and a shape."""
    stream = np.random.RandomState(zlib.crc32(f"{SEED}/{name}".encode()))
    return torch.from_numpy(stream.standard_normal(tuple(shape)).astype("float32"))


def scaled(name: str, numbers: torch.Tensor) -> torch.Tensor:
    """Bring normal numbers to the scale of the parameter of that name.

    The activations of all stages stay near 1, and every parameter matters: norms are not the
    identity, biases not zero, position tables large enough to steer the attention.
    """
    if "norm" in name and name.endswith("weight"):
        return numbers.mul_(0.1).add_(1)
    if "rel_pos" in name or "pos_embed" in name:
        return numbers.mul_(0.2)
    if numbers.ndim == 1:
        return numbers.mul_(0.1)
    return numbers.div_(numbers[0].numel() ** 0.5)


@torch.no_grad()
def fill_parameters(model: nn.Module, draw: Callable = seeded) -> nn.Module:
    """Give every parameter its seeded numbers, and return the model in evaluation mode."""
    for name, value in model.state_dict().items():
        value.copy_(scaled(name, draw(name, value.shape)))
    return model.eval()


def describe(feature: torch.Tensor) -> dict:
    """Shape, mean absolute value, root mean square and a dozen evenly spread values of a map."""
    feature = feature.detach().double()
    flat = feature.flatten()
    places = np.linspace(0, flat.numel() - 1, 12).astype(int)
    return {
        "shape": list(feature.shape),
        "mean_abs": round(flat.abs().mean().item(), 7),
        "rms": round(flat.square().mean().sqrt().item(), 7),
        "values": [round(flat[int(place)].item(), 7) for place in places],
    }


# ------------------------------------------------------------------------------- the generator


def group_blocks(shapes: dict[str, list[int]]) -> dict:
    """Write names and shapes shortly: blocks that look the same share one entry."""
    outside, blocks = {}, {}
    for name, shape in shapes.items():
        if name.startswith("blocks."):
            _, index, rest = name.split(".", 2)
            blocks.setdefault(int(index), {})[rest] = shape
        else:
            outside[name] = shape
    groups: list[dict] = []
    for index, inside in sorted(blocks.items()):
        if groups and groups[-1]["shapes"] == inside:
            groups[-1]["blocks"].append(index)
        else:
            groups.append({"blocks": [index], "shapes": inside})
    return {"outside": outside, "groups": groups}


def shapes_of(model: nn.Module) -> dict[str, list[int]]:
    """Name -> shape of all parameters."""
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def published_name(name: str, depths: tuple[int, ...]) -> str:
    """timm's name of a backbone parameter -> the name in published checkpoints."""
    if name.startswith("stages."):
        _, stage, _, block, rest = name.split(".", 4)
        name = f"blocks.{sum(depths[: int(stage)]) + int(block)}.{rest}"
    # the classifier's last norm stands where Detectron2 has the norm of its last feature map
    name = name.replace("norm.", "scale5_norm.") if name.startswith("norm.") else name
    return name.replace("shortcut_proj_mlp", "proj").replace("shortcut_proj_attn", "proj")


def shapes_of_large(create_model) -> dict[str, list[int]]:
    """Names and shapes of L with expansion in the MLP, with the norms of a detection backbone."""
    with torch.device("meta"):
        model = create_model("mvitv2_large")
    depths = (2, 6, 36, 4)
    shapes = {
        published_name(name, depths): shape
        for name, shape in shapes_of(model).items()
        if not name.startswith("head.")
    }
    for stage, end in enumerate((1, 7, 43)):
        width = shapes[f"blocks.{end}.mlp.fc2.bias"]
        shapes[f"scale{stage + 2}_norm.weight"] = shapes[f"scale{stage + 2}_norm.bias"] = width
    return shapes


@torch.no_grad()
def feature_of_small(mvitv2) -> torch.Tensor:
    """Last feature map of the small classifier: its normalised tokens, back on their grid."""
    config = mvitv2.MultiScaleVitCfg(
        depths=SMALL_DEPTHS, embed_dim=SMALL_WIDTH, num_heads=1, expand_attn=False
    )
    model = mvitv2.MultiScaleVit(config, img_size=(SMALL_SIZE, SMALL_SIZE), num_classes=0).eval()
    for name, value in model.state_dict().items():
        name = published_name(name, SMALL_DEPTHS)
        value.copy_(scaled(name, seeded(name, value.shape)))
    tokens = model.forward_features(seeded("image", (1, 3, SMALL_SIZE, SMALL_SIZE)))
    side = SMALL_SIZE // 32
    # (B, N, C) -> (B, C, H, W)
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def save(path: Path, content: dict) -> None:
    """Write JSON with every list on one line."""
    text = json.dumps({"command": COMMAND, **content}, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda found: json.dumps(json.loads(found[0])), text)
    path.write_text(text + "\n")


def main() -> None:
    """Compute everything and write both files."""
    from detectron2.modeling import MViT
    from timm.models import create_model, mvitv2

    model = MViT(**VARIANT_ARGUMENTS["T"], norm_layer=layer_norm).eval()
    with torch.no_grad():
        maps = fill_parameters(model)(seeded("image", (1, 3, *IMAGE_SIZE)))
    save(
        FEATURES,
        {
            "T": {name: describe(feature) for name, feature in maps.items()},
            "expand_in_mlp": {"scale5": describe(feature_of_small(mvitv2))},
        },
    )
    shapes = {name: shapes_of(MViT(**VARIANT_ARGUMENTS[name])) for name in "TSB"}
    shapes["L, expansion in the MLP"] = shapes_of_large(create_model)
    save(KEYS, {name: group_blocks(each) for name, each in shapes.items()})


if __name__ == "__main__":
    main()
