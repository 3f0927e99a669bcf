"""Golden numbers of image classifiers, from facebookresearch/mvit: logits, and gradients of one.

    PYTHONPATH=FOLDER_OF_MVIT:. python tests/golden/make_recognizer.py

needs a clone of https://github.com/facebookresearch/mvit (its models need torch, fvcore, iopath
and simplejson), and writes ``recognizer_logits.json`` beside this script. Weights and images are
seeded by name, as in ``make_backbone.py``, so that a test needs neither that code nor weights.

- ``T``, ``S``, ``B``, ``L``: the released test configs, 224 pixels; L expands in the MLP.
- ``B 384``: the same network built for 384 pixels, position tables of that size.
- ``B class token``, ``L class token``: the layout of the ImageNet-21K files.
- ``H, few blocks``: that layout at the widths of H, with the gradient of every parameter.

Heads have 40 classes instead of 1000 or 19168, so that every logit can be stored.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from golden.make_backbone import FOLDER, fill_parameters, seeded  # noqa: E402

LOGITS = FOLDER / "recognizer_logits.json"
COMMAND = "PYTHONPATH=FOLDER_OF_MVIT:. python tests/golden/make_recognizer.py"
NUM_CLASSES = 40

T = dict(embed_dim=96, num_heads=1, last_block_indexes=(0, 2, 7, 9))
S = dict(embed_dim=96, num_heads=1, last_block_indexes=(0, 2, 13, 15))
B = dict(embed_dim=96, num_heads=1, last_block_indexes=(1, 4, 20, 23))
L = dict(embed_dim=144, num_heads=2, last_block_indexes=(1, 7, 43, 47))
H_SHORT = dict(embed_dim=192, num_heads=3, last_block_indexes=(0, 2, 4, 5))
# Arguments of `mvit_det.recognition.MViT`.
NETWORKS: dict[str, dict[str, Any]] = {
    "T": T,
    "S": S,
    "B": B,
    "L": {**L, "expand_in": "mlp"},
    "B 384": {**B, "input_size": (384, 384)},
    "B class token": {**B, "class_token": True},
    "L class token": {**L, "class_token": True},
    "H, few blocks": {**H_SHORT, "class_token": True},
}
WITH_GRADIENTS = "H, few blocks"


def image(name: str) -> torch.Tensor:
    """The image (1, 3, H, W) that network ``name`` sees, at the size it is built for."""
    return seeded("image", (1, 3, *NETWORKS[name].get("input_size", (224, 224))))


def fill(model: nn.Module) -> nn.Module:
    """Seeded numbers for a network of ours, whose backbone's names have a prefix."""
    return fill_parameters(model, lambda name, shape: seeded(name.removeprefix("backbone."), shape))


def gradients_of(logits: torch.Tensor, model: nn.Module) -> dict[str, list[float]]:
    """Per parameter the norm of a gradient, and its product with a seeded direction of length 1.

    The gradient is that of a sum over the logits, each with a seeded weight of its own.
    """
    (logits * seeded("weights of the logits", logits.shape)).sum().backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        name, gradient = name.removeprefix("backbone."), parameter.grad.double()
        direction = seeded(f"direction/{name}", gradient.shape).double()
        along = (gradient * direction).sum() / direction.norm()
        gradients[name] = [gradient.norm().item(), along.item()]
    return gradients


# ------------------------------------------------------------------------------- the generator


def build_theirs(arguments: dict[str, Any]) -> nn.Module:
    """The network of facebookresearch/mvit; its head gives logits, not probabilities."""
    from mvit.config.defaults import get_cfg
    from mvit.models import build_model

    arguments = dict(arguments)
    cfg = get_cfg()
    ends = arguments.pop("last_block_indexes")
    starts = [end + 1 for end in ends[:-1]]
    cfg.NUM_GPUS = 0
    cfg.MODEL.NUM_CLASSES = NUM_CLASSES
    cfg.DATA.TRAIN_CROP_SIZE = cfg.DATA.TEST_CROP_SIZE = arguments.pop("input_size", (224,))[0]
    cfg.MVIT.DROPPATH_RATE = 0.0
    cfg.MVIT.DEPTH = ends[-1] + 1
    cfg.MVIT.EMBED_DIM = arguments.pop("embed_dim")
    cfg.MVIT.NUM_HEADS = arguments.pop("num_heads")
    cfg.MVIT.DIM_MUL = cfg.MVIT.HEAD_MUL = [[start, 2.0] for start in starts]
    strides = {start: 2 for start in starts}
    cfg.MVIT.POOL_Q_STRIDE = [[i] + 2 * [strides.get(i, 1)] for i in range(cfg.MVIT.DEPTH)]
    cfg.MVIT.POOL_KVQ_KERNEL = [3, 3]
    cfg.MVIT.POOL_KV_STRIDE_ADAPTIVE = [4, 4]
    cfg.MVIT.DIM_MUL_IN_ATT = arguments.pop("expand_in", "attention") == "attention"
    cfg.MVIT.CLS_EMBED_ON = arguments.pop("class_token", False)
    assert not arguments, arguments
    model = build_model(cfg)
    model.head.act = nn.Identity()
    return fill_parameters(model)


def save(content: dict) -> None:
    """Write JSON with every list on one line."""
    text = json.dumps({"command": COMMAND, **content}, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda found: json.dumps(json.loads(found[0])), text)
    LOGITS.write_text(text + "\n")


def digits(values: list[float]) -> list[float]:
    """Eight of them: what is left out is a tenth of float32's own rounding."""
    return [float(f"{value:.8g}") for value in values]


def main() -> None:
    """Compute everything and write the file."""
    logits, gradients = {}, {}
    for name, arguments in NETWORKS.items():
        print(name)
        model = build_theirs(arguments)
        with torch.set_grad_enabled(name == WITH_GRADIENTS):
            found = model(image(name))
        if name == WITH_GRADIENTS:
            gradients = {key: digits(x) for key, x in gradients_of(found, model).items()}
        logits[name] = digits(found[0].tolist())
    save({"logits": logits, "gradients": gradients})


if __name__ == "__main__":
    main()
