"""The expected values of each config of configs/kinetics and configs/ssv2, written by hand."""

from typing import NamedTuple

VIDEOS = {400: 240_436, 600: 383_393, 700: 542_357, 174: 168_913}  # of training, by classes
GREY = ((0.45,) * 3, (0.225,) * 3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# as the released code applies it to frames of Something-Something-v2, which it reads as BGR
IMAGENET_OF_BGR = tuple(numbers[::-1] for numbers in IMAGENET)
STRONG, WEAK = "rand-m7-n4-mstd0.5-inc1", "rand-m7-mstd0.5-inc1"


class Recipe(NamedTuple):
    """What distinguishes one config from another; rates are those of the whole batch."""

    variant: str
    size: tuple[int, int, int]
    parameters: float  # millions, as counted in the released code's model
    flops: float  # G
    drop_path: float
    lr: float
    classes: int = 400
    rate: int | None = 4  # None: one frame per segment
    epochs: int = 200
    warmup: float = 30  # epochs
    start: float = 0.01  # of lr
    end: float = 0.01
    batch: int = 256  # videos
    repeats: int = 2
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    clip: float | None = 1.0
    views: tuple[int, int] = (1, 5)  # crops, clips
    mixup: float = 1.0  # probability
    init: str = ""
    colours: tuple = GREY
    evaluations: int = 20
    expand_in: str = "attention"
    jitter: tuple[int, int] | None = None


IN1K = dict(epochs=100, warmup=15, lr=4.8e-4, views=(1, 10), evaluations=10)
IN21K = dict(epochs=75, warmup=11.25, lr=1.6e-4, views=(1, 10), evaluations=15)
B = dict(variant="B", size=(32, 224, 224), flops=225.170, drop_path=0.3, rate=3)
L = dict(variant="L", drop_path=0.75, colours=IMAGENET)
SHORT = dict(L, **IN21K, size=(16, 224, 224), flops=362.147, init="mvitv2_l_in21k")
LONG = dict(L, rate=3, epochs=30, warmup=4.5, lr=1.6e-5, batch=128, repeats=1, evaluations=6)
LONG.update(weight_decay=1e-8, mixup=0.0)
FEAT = dict(lr=9.6e-3, clip=5.0, views=(1, 10), expand_in="mlp")
S_FEAT = Recipe(
    "S",
    (16, 224, 224),
    36.475,
    71.415,
    0.1,
    **FEAT,
    epochs=100,
    warmup=20,
    start=1 / 600,
    end=1 / 600,
    layer_decay=0.75,
    evaluations=10,
    init="mvitv2_s_16x4_maskfeat_k400",
)
SSV2 = dict(classes=174, rate=None, batch=128, repeats=1, weight_decay=1e-4, views=(3, 1))
SSV2.update(epochs=100, warmup=3, evaluations=50, clip=None, jitter=(256, 320))
S_RATE = dict(lr=0.02, start=1e-4 / 0.0025, end=1e-6 / 0.0025)
B_RATE = dict(lr=0.012, start=1e-4 / 0.0015, end=1e-6 / 0.0015)
L_RATE = dict(lr=0.02, start=1e-6 / 0.00125, end=1e-6 / 0.00125)


def trained(name: str) -> str:
    return f"output/{name}/model_final.pth"


def start_of(classes: int) -> str:
    return trained(f"mvitv2_l_16x4_in21k_k{classes}")


SMALL = ("S", (16, 224, 224), 34.538, 64.457, 0.2)
RECIPES = {
    "mvitv2_s_16x4_k400": Recipe(*SMALL, lr=1.6e-3),
    "mvitv2_s_16x4_in1k_k400": Recipe(*SMALL, **IN1K, init="mvitv2_s_in1k"),
    "mvitv2_s_16x4_in21k_k400": Recipe(*SMALL, **IN21K, init=trained("mvitv2_s_in21k")),
    "mvitv2_b_32x3_k400": Recipe(**B, parameters=51.230, lr=1.6e-3),
    "mvitv2_b_32x3_in1k_k400": Recipe(**B, parameters=51.230, **IN1K, init="mvitv2_b_in1k"),
    "mvitv2_b_32x3_in21k_k400": Recipe(**B, parameters=51.230, **IN21K, init="mvitv2_b_in21k"),
    "mvitv2_b_32x3_k600": Recipe(**B, parameters=51.384, lr=1.6e-3, classes=600),
    "mvitv2_b_32x3_k700": Recipe(**B, parameters=51.461, lr=1.6e-3, classes=700, views=(3, 3)),
    "mvitv2_l_16x4_in21k_k400": Recipe(**SHORT, parameters=213.220),
    "mvitv2_l_16x4_in21k_k600": Recipe(**SHORT, parameters=213.451, classes=600),
    "mvitv2_l_16x4_in21k_k700": Recipe(**SHORT, parameters=213.566, classes=700),
    "mvitv2_l_40x3_in21k_k400": Recipe(
        **LONG,
        size=(40, 224, 224),
        parameters=213.303,
        flops=1088.508,
        views=(1, 10),
        init=start_of(400),
    ),
    "mvitv2_l_40x3_312_in21k_k400": Recipe(
        **LONG,
        size=(40, 312, 312),
        parameters=213.390,
        flops=2828.101,
        views=(3, 5),
        init=start_of(400),
    ),
    "mvitv2_l_32x3_312_in21k_k600": Recipe(
        **LONG,
        size=(32, 312, 312),
        parameters=213.593,
        flops=2063.454,
        views=(3, 4),
        classes=600,
        init=start_of(600),
    ),
    "mvitv2_l_40x3_312_in21k_k600": Recipe(
        **LONG,
        size=(40, 312, 312),
        parameters=213.621,
        flops=2828.101,
        views=(3, 4),
        classes=600,
        init=start_of(600),
    ),
    "mvitv2_l_40x3_352_in21k_k600": Recipe(
        **LONG,
        size=(40, 352, 352),
        parameters=213.669,
        flops=3790.349,
        views=(3, 4),
        classes=600,
        init=start_of(600),
    ),
    "mvitv2_l_40x3_312_in21k_k700": Recipe(
        **LONG,
        size=(40, 312, 312),
        parameters=213.736,
        flops=2828.102,
        views=(3, 3),
        classes=700,
        init=start_of(700),
    ),
    "mvitv2_s_16x4_maskfeat_k400": S_FEAT,
    "mvitv2_s_16x4_mmselfsup_k400": S_FEAT._replace(
        init="mmselfsup/maskfeat_mvit-small_16xb32-amp-coslr-300e_k400"
    ),
    "mvitv2_l_16x4_maskfeat_k400": Recipe(
        "L",
        (16, 224, 224),
        217.578,
        377.787,
        0.2,
        **FEAT,
        epochs=75,
        warmup=5,
        start=1 / 60000,
        end=1 / 60,
        repeats=1,
        layer_decay=0.875,
        evaluations=15,
        init="mvitv2_l_16x4_maskfeat_k400",
    ),
    "mvitv2_s_16x4_ssv2": Recipe(
        "S", (16, 224, 224), 34.364, 64.457, 0.4, **SSV2, **S_RATE, init="mvitv2_s_16x4_k400"
    ),
    "mvitv2_b_32x3_ssv2": Recipe(
        "B", (32, 224, 224), 51.056, 225.170, 0.4, **SSV2, **B_RATE, init="mvitv2_b_32x3_k400"
    ),
    "mvitv2_b_32x3_in21k_ssv2": Recipe(
        "B",
        (32, 224, 224),
        51.056,
        225.170,
        0.4,
        **SSV2,
        **B_RATE,
        init=trained("mvitv2_b_32x3_in21k_k400"),
    ),
    "mvitv2_l_40x3_312_ssv2": Recipe(
        **{key: value for key, value in L.items() if key != "colours"},
        size=(40, 312, 312),
        parameters=213.130,
        flops=2828.101,
        **L_RATE,
        **{
            **SSV2,
            "colours": IMAGENET_OF_BGR,
            "epochs": 40,
            "evaluations": 20,
            "clip": 2.0,
            "jitter": (356, 446),
        },
        mixup=0.0,
        init="mvitv2_l_40x3_k400",
    ),
}
# shorter side that frames are decoded at in training and in testing; None: the stored size
DECODED = {
    "mvitv2_s_16x4_k400": (256, 256),
    "mvitv2_s_16x4_in1k_k400": (256, 256),
    "mvitv2_s_16x4_in21k_k400": (256, 256),
    "mvitv2_s_16x4_maskfeat_k400": (256, 256),
    "mvitv2_s_16x4_mmselfsup_k400": (256, 224),
    "mvitv2_b_32x3_k400": (256, 256),
    "mvitv2_b_32x3_in1k_k400": (256, 256),
    "mvitv2_b_32x3_in21k_k400": (256, 256),
    "mvitv2_b_32x3_k600": (256, 256),
    "mvitv2_b_32x3_k700": (256, 224),  # three crops
    "mvitv2_l_16x4_in21k_k400": (256, 256),
    "mvitv2_l_16x4_in21k_k600": (256, 256),
    "mvitv2_l_16x4_in21k_k700": (256, 256),
    "mvitv2_l_16x4_maskfeat_k400": (256, 256),
    "mvitv2_l_40x3_in21k_k400": (256, 256),
    "mvitv2_l_40x3_312_in21k_k400": (356, 312),
    "mvitv2_l_32x3_312_in21k_k600": (356, 312),
    "mvitv2_l_40x3_312_in21k_k600": (356, 312),
    "mvitv2_l_40x3_312_in21k_k700": (356, 312),
    "mvitv2_l_40x3_352_in21k_k600": (402, 352),
    "mvitv2_s_16x4_ssv2": (None, None),
    "mvitv2_b_32x3_ssv2": (None, None),
    "mvitv2_b_32x3_in21k_ssv2": (None, None),
    "mvitv2_l_40x3_312_ssv2": (None, None),
}
# table, top-1, top-5, millions of parameters, GFLOPs of a view
PAPER = {
    "mvitv2_s_16x4_k400": ("10", 81.0, 94.6, 34.5, 64),
    "mvitv2_b_32x3_k400": ("10", 82.9, 95.7, 51.2, 225),
    "mvitv2_l_40x3_312_in21k_k400": ("10", 86.1, 97.0, 217.6, 2828),
    "mvitv2_b_32x3_k600": ("11", 85.5, 97.2, 51.4, 206),
    "mvitv2_l_32x3_312_in21k_k600": ("11", 87.2, None, 217.6, 2063),
    "mvitv2_l_40x3_312_in21k_k600": ("11", 87.5, None, 217.6, 2828),
    "mvitv2_l_40x3_352_in21k_k600": ("11", 87.9, None, 217.6, 3790),
    "mvitv2_b_32x3_k700": ("12", 76.6, 93.2, 51.4, 206),
    "mvitv2_l_40x3_312_in21k_k700": ("12", 79.4, 94.9, 217.6, 2828),
    "mvitv2_s_16x4_ssv2": ("13", 68.2, 91.4, 34.4, 64.5),
    "mvitv2_b_32x3_ssv2": ("13", 70.5, 92.7, 51.1, 225),
    "mvitv2_b_32x3_in21k_ssv2": ("13", 72.1, 93.4, 51.1, 225),
    "mvitv2_l_40x3_312_ssv2": ("13", 73.3, 94.1, 213.1, 2828),
    "mvitv2_s_16x4_in1k_k400": ("14", 82.2, None, 34.5, 64),
    "mvitv2_s_16x4_in21k_k400": ("14", 82.6, None, 34.5, 64),
    "mvitv2_b_32x3_in1k_k400": ("14", 83.3, None, 51.2, 225),
    "mvitv2_b_32x3_in21k_k400": ("14", 84.3, None, 51.2, 225),
    "mvitv2_l_40x3_in21k_k400": ("14", 84.5, None, 217.6, 1127),
    "mvitv2_s_16x4_maskfeat_k400": ("MaskFeat", 82.2, None, 36, 71),
    "mvitv2_s_16x4_mmselfsup_k400": ("MMAction2", 81.8, 95.2, 36.4, 71),
    "mvitv2_l_16x4_maskfeat_k400": ("MaskFeat", 84.3, None, 218, 377),
}
MEAN_OF_TOKENS = {"mvitv2_s_16x4_maskfeat_k400", "mvitv2_l_16x4_maskfeat_k400"}
FINE_TUNED = {*MEAN_OF_TOKENS, "mvitv2_s_16x4_mmselfsup_k400"}
