"""Golden numbers of action detectors, from PySlowFast: logits of boxes, a loss and its gradients.

    PYTHONPATH=. python tests/golden/make_action.py

needs PySlowFast importable, from a clone of github.com/facebookresearch/SlowFast (at 287ec00), and
the real Detectron2, whose RoIAlign it uses. It writes ``action_logits.json`` beside this script.
Weights, clips and boxes are seeded by name, as in ``make_backbone.py``.

PySlowFast has no config for MViT with boxes. It is the one for clips with ``DETECTION.ENABLE`` and
``SPATIAL_SCALE_FACTOR`` 32, as the last map has that stride; the default is 16.

- ``S 16x4``: the network of the paper's Table A.2 at 224 pixels.
- ``narrow, ...``: other shapes of clips than the nominal 8 frames of 64 x 64 pixels. PySlowFast
  refuses those; it is told that they are what it was built for, and then resizes its tables. Its
  head averages over as many frames as it was built for, so their number stays.
"""

import json
import re
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from golden.make_backbone import FOLDER, fill_parameters, seeded  # noqa: E402
from golden.make_clips import NARROW  # noqa: E402
from golden.make_recognizer import S, digits, gradients_of  # noqa: E402

LOGITS = FOLDER / "action_logits.json"
COMMAND = "PYTHONPATH=. python tests/golden/make_action.py (with PySlowFast and Detectron2)"
NUM_CLASSES = 80
NETWORKS = {"S 16x4": {**S, "input_size": (16, 224, 224)}, "narrow": NARROW}
# name -> network, number of clips, their size
INPUTS = {
    "S 16x4": ("S 16x4", 1, (16, 224, 224)),
    "narrow": ("narrow", 2, (8, 64, 64)),
    "narrow, wide": ("narrow", 2, (8, 96, 224)),
    "narrow, tall": ("narrow", 2, (8, 160, 64)),
    "narrow, ragged": ("narrow", 2, (8, 117, 150)),
}
WITH_GRADIENTS = "narrow, ragged"
# x1, y1, x2, y2 as shares of the clip, of the first and of the second one: a small one, all, a
# narrow one; an empty one, two beyond the border, a large one.
BOXES = (
    ((0.1, 0.2, 0.3, 0.6), (0.0, 0.0, 1.0, 1.0), (0.7, 0.1, 0.72, 0.95)),
    ((0.5, 0.5, 0.5, 0.5), (0.8, 0.6, 1.3, 1.2), (-0.2, 0.3, 0.25, 0.8), (0.3, 0.2, 0.95, 0.9)),
)


def clips(name: str) -> torch.Tensor:
    """The clips (B, 3, T, H, W) of that name."""
    _, number, size = INPUTS[name]
    return seeded("clips", (number, 3, *size))


def boxes(name: str) -> list[torch.Tensor]:
    """Of each clip its boxes (N, 4), in pixels."""
    _, number, (_, height, width) = INPUTS[name]
    extent = torch.tensor([width, height, width, height])
    return [torch.tensor(each) * extent for each in BOXES[:number]]


def labels() -> torch.Tensor:
    """Some actions of all boxes, (7, K); of one box none, as of a proposal that no label is for."""
    drawn = (seeded("labels", (7, NUM_CLASSES)) > 1).float()
    drawn[3] = 0
    return drawn


# ------------------------------------------------------------------------------- the generator


def build_theirs(name: str) -> nn.Module:
    """The network of PySlowFast for an input; its head gives probabilities."""
    from golden.make_checkpoint_keys import build_pyslowfast

    network, _, size = INPUTS[name]
    arguments = NETWORKS[network]
    starts = [end + 1 for end in arguments["last_block_indexes"][:-1]]
    depth = arguments["last_block_indexes"][-1] + 1
    options = {
        "DETECTION.ENABLE": True,
        "DETECTION.ALIGNED": True,
        "DETECTION.SPATIAL_SCALE_FACTOR": 32,
        "MODEL.HEAD_ACT": "sigmoid",
        "MODEL.NUM_CLASSES": NUM_CLASSES,
        "DATA.NUM_FRAMES": arguments["input_size"][0],
        "DATA.TRAIN_CROP_SIZE": arguments["input_size"][1],
        "DATA.TEST_CROP_SIZE": arguments["input_size"][1],
        "MVIT.EMBED_DIM": arguments["embed_dim"],
        "MVIT.DEPTH": depth,
        "MVIT.DIM_MUL": [[start, 2.0] for start in starts],
        "MVIT.HEAD_MUL": [[start, 2.0] for start in starts],
        "MVIT.POOL_Q_STRIDE": [
            [index, 1, *([2, 2] if index in starts else [1, 1])] for index in range(depth)
        ],
    }
    overrides = [part for option in options.items() for part in option]
    model = build_pyslowfast("Kinetics/MVITv2_S_16x4", overrides)
    # patches: the grid that it expects, rounded up as its convolution does
    model.T, model.H, model.W = (-(-n // stride) for n, stride in zip(size, (2, 4, 4)))
    return fill_parameters(model)


def rows_of(given: list[torch.Tensor]) -> torch.Tensor:
    """Boxes as PySlowFast has them, (N, 5): the clip first."""
    clip = torch.repeat_interleave(torch.tensor([len(each) for each in given]))
    return torch.cat([clip[:, None].float(), torch.cat(given)], dim=1)


def main() -> None:
    """Compute everything and write the file."""
    from slowfast.models.losses import get_loss_func

    loss_function = get_loss_func("bce")(reduction="mean")
    content = {"command": COMMAND, "logits": {}}
    for name in INPUTS:
        print(name)
        model, given = build_theirs(name), rows_of(boxes(name))
        with torch.no_grad():
            model.head.act, sigmoid = nn.Identity(), model.head.act
            found = model([clips(name)], given)
            content["logits"][name] = [digits(row.tolist()) for row in found]
        if name == WITH_GRADIENTS:
            model.head.act = sigmoid
            loss = loss_function(model([clips(name)], given), labels())
            content["loss"] = loss.item()
            gradients = gradients_of(loss, model)
            content["gradients"] = {key: digits(x) for key, x in gradients.items()}
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda found: json.dumps(json.loads(found[0])), text)
    LOGITS.write_text(text + "\n")


if __name__ == "__main__":
    main()
