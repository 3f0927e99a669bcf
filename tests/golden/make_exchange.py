"""Golden logits of PySlowFast's and MMAction2's models, whose code is on no package index.

    PYTHONPATH=. python tests/golden/make_exchange.py

needs both importable, from clones of github.com/facebookresearch/SlowFast (at 287ec00) and
github.com/open-mmlab/mmaction2 (at 4d6c934), and writes ``exchange_logits.json`` beside
this script: logits of one seeded input, described as in ``make_backbone.py``. Weights are seeded by
the names that the code of their publisher gives them. With the names and shapes of
``checkpoint_keys.json`` a test writes the file that this publisher would have written.
"""

import json
import re
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from golden.make_backbone import FOLDER, describe, fill_parameters, seeded  # noqa: E402

LOGITS = FOLDER / "exchange_logits.json"
COMMAND = "PYTHONPATH=. python tests/golden/make_exchange.py (with PySlowFast and MMAction2)"
IMAGE, CLIP = (224, 224), (16, 224, 224)
# Name in `make_checkpoint_keys` -> size of the input.
MASKFEAT = "mmaction2/mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb"
INPUTS = {
    "images S": IMAGE,
    "mvitv2_s_16x4_k400": CLIP,
    "mmaction2/mvit-small-p244_16x4x1_kinetics400-rgb": CLIP,
    MASKFEAT: CLIP,
}


def network_input(name: str) -> torch.Tensor:
    """The image (1, 3, H, W) or clip (1, 3, T, H, W) that a model sees."""
    return seeded("input", (1, 3, *INPUTS[name]))


# ------------------------------------------------------------------------------- the generator


@torch.no_grad()
def logits_of(name: str) -> torch.Tensor:
    """What the publisher's own code computes, before any softmax."""
    from golden.make_checkpoint_keys import MMACTION2, build_mmaction2, build_pyslowfast

    if name in MMACTION2:
        model = fill_parameters(build_mmaction2(MMACTION2[name]))
        return model.cls_head(model.backbone(network_input(name)))
    from golden.make_checkpoint_keys import PYSLOWFAST

    model = fill_parameters(build_pyslowfast(*PYSLOWFAST[name]))
    model.head.act = nn.Identity()
    return model([network_input(name)])


def main() -> None:
    """Compute everything and write the file."""
    content = {"command": COMMAND, "logits": {n: describe(logits_of(n)) for n in INPUTS}}
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda found: json.dumps(json.loads(found[0])), text)
    LOGITS.write_text(text + "\n")


if __name__ == "__main__":
    main()
