"""Golden numbers of detectors, from Detectron2: feature maps, proposals, detections.

    python tests/golden/make_detector.py

needs the real Detectron2, and writes ``detector_outputs.json`` beside this script: what its own
Mask R-CNN and Cascade Mask R-CNN, with narrow heads, on its own MViTv2-T make of one small image.
Weights and image are seeded by name, as in ``make_backbone.py``.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from detectron2.config import LazyConfig, instantiate  # noqa: E402
from golden.make_backbone import FOLDER, describe, scaled, seeded  # noqa: E402

import mvit_det  # noqa: E402, F401  makes `import detectron2` work: must come before it

OUTPUTS = FOLDER / "detector_outputs.json"
COMMAND = "python tests/golden/make_detector.py (with the real Detectron2)"
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NAMES = ("mask_rcnn_mvitv2_t_3x", "cascade_mask_rcnn_mvitv2_t_3x")
SIZE = (192, 256)
PROPOSALS, DETECTIONS = 100, 20
WIDTH = 32  # of pyramid and heads


def build(name: str, theirs: bool = False) -> nn.Module:
    """The detector of a config, narrow; ``theirs``: of Detectron2's own classes, not ours."""
    node = LazyConfig.load(str(CONFIGS / f"{name}.py")).model
    node.backbone.out_channels = WIDTH
    node.proposal_generator.post_nms_topk = (PROPOSALS, PROPOSALS)
    heads = node.roi_heads
    for head in heads.get("box_heads", [heads.get("box_head")]):
        head.conv_dims = [WIDTH] * len(head.conv_dims)
        head.fc_dims = [WIDTH] * len(head.fc_dims)
    heads.mask_head.conv_dims = [WIDTH] * len(heads.mask_head.conv_dims)
    for predictor in heads.get("box_predictors", [heads.get("box_predictor")]):
        predictor.test_topk_per_image = DETECTIONS
    if theirs:
        from detectron2.modeling import GeneralizedRCNN, MViT

        node["_target_"], node.backbone.bottom_up["_target_"] = GeneralizedRCNN, MViT
    return instantiate(node).eval()


@torch.no_grad()
def fill(model: nn.Module) -> nn.Module:
    """Give every parameter its seeded numbers; running statistics stay at 0 and 1."""
    for name, parameter in model.named_parameters():
        name = name.removeprefix("backbone.bottom_up.")
        # scores far apart, so that no rounding error changes their order
        gain = 10.0 if "cls_score.weight" in name else 1.0
        parameter.copy_(gain * scaled(name, seeded(name, parameter.shape)))
    return model


def image() -> torch.Tensor:
    """(3, H, W), RGB, 0 to 255."""
    return seeded("picture", (3, *SIZE)).mul_(50).add_(120).clamp_(0, 255).round_()


@torch.no_grad()
def outputs(model: nn.Module) -> dict[str, Any]:
    """Pyramid, proposals and detections of the image; the best first."""
    batch = [{"image": image(), "height": SIZE[0], "width": SIZE[1]}]
    images = model.preprocess_image(batch)
    pyramid = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, pyramid)
    found = model(batch)[0]["instances"]
    return {
        **pyramid,
        "proposals": proposals[0].proposal_boxes.tensor,
        "objectness": proposals[0].objectness_logits,
        "boxes": found.pred_boxes.tensor,
        "scores": found.scores,
        "classes": found.pred_classes,
        "masks": found.pred_masks.flatten(1).float().mean(dim=1),  # share of the image
    }


# ------------------------------------------------------------------------------- the generator


def shorten(name: str, value: torch.Tensor) -> Any:
    """A map by its description, all else by as many rows as there are detections."""
    if re.fullmatch(r"p\d", name):
        return describe(value)
    return [round(x, 5) for x in value[:DETECTIONS].flatten().tolist()]


def main() -> None:
    """Compute everything and write the file."""
    content = {}
    for name in NAMES:
        found = outputs(fill(build(name, theirs=True)))
        content[name] = {key: shorten(key, value) for key, value in found.items()}
    text = json.dumps({"command": COMMAND, **content}, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda found: json.dumps(json.loads(found[0])), text)
    OUTPUTS.write_text(text + "\n")


if __name__ == "__main__":
    main()
