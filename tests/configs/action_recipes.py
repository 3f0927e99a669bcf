"""The expected values of each config of configs/ava, written by hand."""

from typing import NamedTuple

from video_recipes import GREY, IMAGENET, trained

KEY_FRAMES = 211_000  # of training


class Recipe(NamedTuple):
    """What distinguishes one config from another."""

    variant: str
    size: tuple[int, int, int]
    rate: int
    parameters: float  # millions, as counted in the released code's model with its head for boxes
    flops: float  # G, of the classifier of the same clips
    center: float  # mAP of the paper's Table A.2
    full: float
    init: str
    paper: tuple[float, float]  # parameters and FLOPs there
    colours: tuple = GREY
    jitter: tuple[int, int] = (256, 320)
    batch: int = 8  # clips of a test


B = dict(
    variant="B", size=(32, 224, 224), rate=3, parameters=50.984, flops=225.170, paper=(51.0, 225.2)
)
RECIPES = {
    "mvitv2_s_16x4_k400_ava": Recipe(
        "S", (16, 224, 224), 4, 34.292, 64.457, 26.8, 27.6, "mvitv2_s_16x4_k400", (34.3, 64.5)
    ),
    "mvitv2_b_32x3_k400_ava": Recipe(**B, center=28.1, full=29.0, init="mvitv2_b_32x3_k400"),
    "mvitv2_b_32x3_k600_ava": Recipe(
        **B, center=29.9, full=30.5, init=trained("mvitv2_b_32x3_k600")
    ),
    "mvitv2_b_32x3_k700_ava": Recipe(
        **B, center=31.3, full=32.3, init=trained("mvitv2_b_32x3_k700")
    ),
    "mvitv2_l_40x3_312_in21k_k700_ava": Recipe(
        "L",
        (40, 312, 312),
        3,
        213.021,
        2828.101,
        33.5,
        34.4,
        trained("mvitv2_l_40x3_312_in21k_k700"),
        (213.0, 2828),
        colours=IMAGENET,
        jitter=(356, 446),
        batch=1,
    ),
}
