"""Golden numbers of clip classifiers, from PySlowFast: logits, and gradients of one network.

    PYTHONPATH=. python tests/golden/make_clips.py

needs PySlowFast importable, from a clone of github.com/facebookresearch/SlowFast (at 287ec00), and
writes ``clip_logits.json`` beside this script. Weights and clips are seeded by name, as in
``make_backbone.py``, so that a test needs neither that code nor weights.

- ``B 32x3``: the released config. (S 16x4 is in ``make_exchange.py``, where its file is read too.)
- ``L at 312, few blocks``: its heads, narrow and short, on 8 frames of 312 x 312 pixels: the grids
  are 78, 39, 20, 10 tokens wide, and the tables made for 78, 39, 19, 9.
- ``narrow, ...``: every switch, and clips of other lengths, heights and widths than the nominal 8
  frames of 64 x 64 pixels. PySlowFast refuses those; it is told that they are what it was built
  for, and then resizes its tables.

Heads have 40 classes, so that every logit can be stored.
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
from golden.make_recognizer import B, digits, gradients_of  # noqa: E402

LOGITS = FOLDER / "clip_logits.json"
COMMAND = "PYTHONPATH=. python tests/golden/make_clips.py (with PySlowFast)"
NUM_CLASSES = 40

NARROW = dict(embed_dim=16, num_heads=1, last_block_indexes=(0, 2, 4, 5), input_size=(8, 64, 64))
# Arguments of `mvit_det.recognition.MViT`, on top of `CLIP_ARGUMENTS`.
NETWORKS: dict[str, dict[str, Any]] = {
    "B 32x3": {**B, "input_size": (32, 224, 224)},
    "L at 312, few blocks": dict(
        embed_dim=48, num_heads=2, last_block_indexes=(0, 1, 3, 4), input_size=(8, 312, 312)
    ),
    "narrow": NARROW,
    "narrow, expansion in the MLP": {**NARROW, "expand_in": "mlp"},
    "narrow, no class token": {**NARROW, "class_token": False},
    "narrow, no position": {**NARROW, "use_rel_pos": False},
    "narrow, no residual pooling": {**NARROW, "residual_pooling": False},
}
# Frames, height, width: short, long, wide, tall, ragged, smaller than a patch.
SIZES = [
    *((1, 64, 64), (2, 33, 70), (3, 64, 64), (5, 96, 40), (7, 50, 35), (16, 64, 64), (33, 32, 32)),
    (4, 5, 3),
]
# name -> network, size of the clip
INPUTS = {
    **{name: (name, network["input_size"]) for name, network in NETWORKS.items()},
    **{
        f"{name}, {frames} x {height} x {width}": (name, (frames, height, width))
        for name in ("narrow", "narrow, expansion in the MLP")
        for frames, height, width in SIZES
    },
}
WITH_GRADIENTS = "narrow, 7 x 50 x 35"


def clip(name: str) -> torch.Tensor:
    """The clip (1, 3, T, H, W) of that name."""
    return seeded("clip", (1, 3, *INPUTS[name][1]))


# ------------------------------------------------------------------------------- the generator


def build_theirs(arguments: dict[str, Any]) -> nn.Module:
    """The network of PySlowFast; its head gives logits, not probabilities."""
    from golden.make_checkpoint_keys import build_pyslowfast

    arguments = dict(arguments)
    ends = arguments.pop("last_block_indexes")
    starts = [end + 1 for end in ends[:-1]]
    frames, crop, _ = arguments.pop("input_size")
    position = arguments.pop("use_rel_pos", True)
    options = {
        "DATA.NUM_FRAMES": frames,
        "DATA.TRAIN_CROP_SIZE": crop,
        "DATA.TEST_CROP_SIZE": crop,
        "MODEL.NUM_CLASSES": NUM_CLASSES,
        "MVIT.EMBED_DIM": arguments.pop("embed_dim"),
        "MVIT.NUM_HEADS": arguments.pop("num_heads"),
        "MVIT.DEPTH": ends[-1] + 1,
        "MVIT.DIM_MUL": [[start, 2.0] for start in starts],
        "MVIT.HEAD_MUL": [[start, 2.0] for start in starts],
        "MVIT.POOL_Q_STRIDE": [
            [index, 1, *([2, 2] if index in starts else [1, 1])] for index in range(ends[-1] + 1)
        ],
        "MVIT.DIM_MUL_IN_ATT": arguments.pop("expand_in", "attention") == "attention",
        "MVIT.CLS_EMBED_ON": arguments.pop("class_token", True),
        "MVIT.REL_POS_SPATIAL": position,
        "MVIT.REL_POS_TEMPORAL": position,
        "MVIT.RESIDUAL_POOLING": arguments.pop("residual_pooling", True),
    }
    assert not arguments, arguments
    overrides = [part for option in options.items() for part in option]
    model = build_pyslowfast("Kinetics/MVITv2_S_16x4", overrides)
    model.head.act = nn.Identity()
    return fill_parameters(model)


def main() -> None:
    """Compute everything and write the file."""
    logits, gradients = {}, {}
    for name, (network, size) in INPUTS.items():
        print(name)
        model = build_theirs(NETWORKS[network])
        # patches: the grid that it expects, rounded up as its convolution does
        model.T, model.H, model.W = (-(-n // stride) for n, stride in zip(size, (2, 4, 4)))
        with torch.set_grad_enabled(name == WITH_GRADIENTS):
            found = model([clip(name)])
        if name == WITH_GRADIENTS:
            gradients = {key: digits(x) for key, x in gradients_of(found, model).items()}
        logits[name] = digits(found[0].tolist())
    text = json.dumps({"command": COMMAND, "logits": logits, "gradients": gradients}, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda found: json.dumps(json.loads(found[0])), text)
    LOGITS.write_text(text + "\n")


if __name__ == "__main__":
    main()
