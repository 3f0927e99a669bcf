"""Small networks and detectors whose weights the tests of this folder write and read."""

import torch

from mvit_det.detection import MViT as DetectionMViT
from mvit_det.recognition import CLIP_ARGUMENTS, ClassifierMViT, Recognizer

WIDTHS = dict(embed_dim=16, num_heads=1, last_block_indexes=(0, 2, 4, 5))


def classifier(classes: int = 5, input_size=(64, 64), **changes) -> Recognizer:
    """A small classifier of images, with random weights."""
    return Recognizer(ClassifierMViT(input_size, **{**WIDTHS, **changes}), classes).eval()


def clip_classifier(classes: int = 5, class_token: bool = True, **changes) -> Recognizer:
    """A small classifier of clips of 4 frames."""
    clip = dict(CLIP_ARGUMENTS, input_size=(4, 64, 64), class_token=class_token)
    return Recognizer(ClassifierMViT(**{**clip, **WIDTHS, **changes}), classes).eval()


def mvit_names(model: Recognizer) -> dict[str, torch.Tensor]:
    """The state of a classifier as facebookresearch/mvit names it."""
    return {name.removeprefix("backbone."): value for name, value in model.state_dict().items()}


def backbone_of_detector(**changes) -> DetectionMViT:
    """The backbone of a detector of the same size as the small classifier."""
    same = dict(img_size=64, depth=6, adaptive_window_size=16, **WIDTHS)
    return DetectionMViT(**{**same, **changes})


def detector_state(backbone: DetectionMViT) -> dict[str, torch.Tensor]:
    """The names of a Mask R-CNN, with few numbers in the heads."""
    state = {f"backbone.bottom_up.{name}": v for name, v in backbone.state_dict().items()}
    for name, shape in {
        "backbone.fpn_lateral2.weight": (4, 16, 1, 1),
        "backbone.fpn_output2.bias": (4,),
        "proposal_generator.rpn_head.conv.weight": (4, 4, 3, 3),
        "roi_heads.box_head.fc1.weight": (8, 36),
        "roi_heads.box_predictor.cls_score.weight": (81, 8),
        "roi_heads.mask_head.predictor.bias": (80,),
    }.items():
        state[name] = torch.randn(shape)
    return state
