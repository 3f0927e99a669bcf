"""The recognizer of the paper's Tables 10 to 14: MViTv2 for clips, read out by a class token."""

from detectron2.config import LazyCall as L

from mvit_det.recognition import CLIP_ARGUMENTS, Recognizer
from mvit_det.tasks import VideoClassification

from .classifier import mvitv2 as mvitv2_of_images


def mvitv2(variant, input_size, drop_path_rate, **changes):
    """Configure a variant of the paper's Table 1 as the backbone of a recognizer of clips.

    Args:
        variant: letter in Table 1.
        input_size: (frames, height, width); the data transforms refer to it.
        drop_path_rate: of the last block.
        **changes: further arguments of the backbone.
    """
    return mvitv2_of_images(variant, drop_path_rate, input_size, **{**CLIP_ARGUMENTS, **changes})


model = L(Recognizer)(
    backbone=mvitv2("S", (16, 224, 224), drop_path_rate=0.2),
    num_classes=400,
    head_dropout=0.5,
    max_views=8,  # views per forward pass in testing, which bounds memory
    pyslowfast_init=True,  # for training from scratch
)

task = L(VideoClassification)()
