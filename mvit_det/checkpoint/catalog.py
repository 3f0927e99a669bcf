"""The published weight files of MViTv2 and its kin: one row each.

The files stay with their publishers, whose pages the rows name.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

META = "https://dl.fbaipublicfiles.com/"
ZOO = META + "detectron2/"
HUB_FILE = "model.safetensors"  # the same for all models of the hub: no name to ask for
UNSTATED = "none stated (code: Apache-2.0)"
# The first eight digits of the SHA-256 end the names of their files (mmaction2/tools/deployment/
# publish_model.py). Six digits end those of detectors too, and Detectron2's MODEL_ZOO.md says of the
# models "on this page" that they are of the MD5. These models are on another page, which says
# nothing, so that we do not refuse a file over them.
DIGEST_IN_NAME = ("torchvision", "mmaction2")


@dataclass(frozen=True)
class Published:
    """A published weight file.

    ``format`` is the publisher's way to name tensors; ``checksum`` is "algorithm:first digits in
    hexadecimal" where the publisher states one; ``licence`` is that of the weights.
    """

    name: str
    url: str
    what: str
    format: str
    licence: str
    source: str
    checksum: str = ""

    @property
    def file(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[-1]


def _group(
    form: str, base: str, source: str, files: Mapping[str, tuple[str, str]], licence: str = UNSTATED
) -> list[Published]:
    """Rows of one publisher: name -> (file below ``base``, what it is); ``{name}`` in ``source``."""
    rows = []
    for name, (file, what) in files.items():
        digits = os.path.splitext(file)[0][-8:]
        checksum = f"sha256:{digits}" if form in DIGEST_IN_NAME else ""
        page = source.format(name=name)
        rows.append(Published(name, base + file, what, form, licence, page, checksum))
    return rows


_IN1K, _IN21K = "ImageNet-1K classifier", "ImageNet-21K classifier, 19168 classes"
_IMAGES = {
    "mvitv2_t_in1k": ("MViTv2_T_in1k.pyth", f"T, {_IN1K}"),
    "mvitv2_s_in1k": ("MViTv2_S_in1k.pyth", f"S, {_IN1K}"),
    "mvitv2_b_in1k": ("MViTv2_B_in1k.pyth", f"B, {_IN1K}"),
    "mvitv2_l_in1k": ("MViTv2_L_in1k.pyth", f"L, {_IN1K}"),
    "mvitv2_b_in21k": ("MViTv2_B_in21k.pyth", f"B, {_IN21K}"),
    "mvitv2_l_in21k": ("MViTv2_L_in21k.pyth", f"L, {_IN21K}"),
    "mvitv2_h_in21k": ("MViTv2_H_in21k.pyth", f"H, {_IN21K}"),
}
# Detectron2's zoo has copies to start detectors from, all but L of ImageNet-1K.
_ZOO_IMAGES = {
    f"detectron2/{name}": (file, f"{what}, copy in Detectron2's zoo")
    for name, (file, what) in _IMAGES.items()
    if name != "mvitv2_l_in1k"
}
_DETECTOR_FILES = {
    "mask_rcnn_mvitv2_t_3x": "f307611773/model_final_1a1c30.pkl",
    "cascade_mask_rcnn_mvitv2_t_3x": "f308344828/model_final_c6967a.pkl",
    "cascade_mask_rcnn_mvitv2_s_3x": "f308344647/model_final_279baf.pkl",
    "cascade_mask_rcnn_mvitv2_b_3x": "f308109448/model_final_421a91.pkl",
    "cascade_mask_rcnn_mvitv2_b_in21k_3x": "f309003202/model_final_be5168.pkl",
    "cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep": "f308099658/model_final_c41c5a.pkl",
    "cascade_mask_rcnn_mvitv2_h_in21k_lsj_3x": "f309013744/model_final_30d36b.pkl",
}


def _detector(name: str, file: str) -> tuple[str, str]:
    """Its file, in a folder of that name, and what the name says."""
    head, letter, recipe = re.fullmatch(r"(\w+)_mvitv2_(.)_(\w+)", name).groups()
    kind = {"mask_rcnn": "Mask R-CNN", "cascade_mask_rcnn": "Cascade Mask R-CNN"}[head]
    start = ", from ImageNet-21K" if "in21k" in recipe else ""
    # NOTE: the publisher's folders say in12k where the paper and we say in21k.
    return f"{name.replace('in21k', 'in12k')}/{file}", f"{letter.upper()}, {kind}, COCO{start}"


_DETECTORS = {name: _detector(name, file) for name, file in _DETECTOR_FILES.items()}
_K400, _SSV2 = "Kinetics-400 classifier", "Something-Something-v2 classifier"
_VIDEO = {
    "mvitv2_s_16x4_k400": ("MViTv2_S_16x4_k400_f302660347.pyth", f"S, 16x4, {_K400}"),
    "mvitv2_b_32x3_k400": ("MViTv2_B_32x3_k400_f304025456.pyth", f"B, 32x3, {_K400}"),
    "mvitv2_l_40x3_k400": ("MViTv2_L_40x3_k400_f306903192.pyth", f"L, 40x3, {_K400}"),
    "mvitv2_s_16x4_ssv2": ("MViTv2_S_16x4_ssv2_f308341823.pyth", f"S, 16x4, {_SSV2}"),
    "mvitv2_b_32x3_ssv2": ("MViTv2_B_32x3_ssv2_f305803282.pyth", f"B, 32x3, {_SSV2}"),
    "mvitv2_l_40x3_ssv2": ("MViTv2_L_40x3_ssv2_f309603968.pyth", f"L, 40x3, {_SSV2}"),
}
_MASKED = "16x4, MaskFeat pre-training on Kinetics-400"
_MASKFEAT = {
    "mvitv2_s_16x4_maskfeat_k400": ("k400_MVIT_S_MaskFeat_PT_epoch_00300.pyth", f"S, {_MASKED}"),
    "mvitv2_l_16x4_maskfeat_k400": ("k400_MVIT_L_MaskFeat_PT_epoch_00800.pyth", f"L, {_MASKED}"),
}
_MVITV1 = {
    "mvitv1_b_32x3_k400": ("k400.pyth", f"MViTv1 B, 32x3, {_K400}"),
    "mvitv1_b_32x3_k600": ("k600.pyth", "MViTv1 B, 32x3, Kinetics-600 classifier"),
}
_TORCHVISION = {
    "torchvision/mvit_v2_s": ("mvit_v2_s-ae3be167.pth", f"S, 16x4, {_K400}"),
    "torchvision/mvit_v1_b": ("mvit_v1_b-dbeb1030.pth", f"MViTv1 B, 16x4, {_K400}"),
}
_TIMM = {
    "timm/mvitv2_tiny.fb_in1k": f"T, {_IN1K}",
    "timm/mvitv2_small.fb_in1k": f"S, {_IN1K}",
    "timm/mvitv2_base.fb_in1k": f"B, {_IN1K}",
    "timm/mvitv2_large.fb_in1k": f"L, {_IN1K}",
    "timm/mvitv2_base_cls.fb_inw21k": f"B, {_IN21K}",
    "timm/mvitv2_large_cls.fb_inw21k": f"L, {_IN21K}",
    "timm/mvitv2_huge_cls.fb_inw21k": f"H, {_IN21K}",
}
# Converted by MMAction2 from PySlowFast's files, then trained by MMAction2 itself.
_CONVERTED = {
    "mvit-small-p244_16x4x1_kinetics400-rgb": "20221021-9ebaaeed",
    "mvit-base-p244_32x3x1_kinetics400-rgb": "20221021-f392cd2d",
    "mvit-large-p244_40x3x1_kinetics400-rgb": "20221021-11fe1f97",
    "mvit-small-p244_u16_sthv2-rgb": "20221021-65ecae7d",
    "mvit-base-p244_u32_sthv2-rgb": "20221021-d5de5da6",
    "mvit-large-p244_u40_sthv2-rgb": "20221021-61696e07",
}
_TRAINED = {
    "mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb": "20230201-23284ff3",
    "mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb": "20230201-5bced1d0",
    "mvit-small-p244_k400-pre_16xb16-u16-100e_sthv2-rgb": "20230201-4065c1b9",
}


def _mmaction2(stem: str, stamp: str) -> tuple[str, str]:
    """Its file, and what the name says."""
    how, folder = ("converted", "converted") if stem in _CONVERTED else ("trained", stem)
    letter, clip, uniform = re.match(r"mvit-(.).*[_-](?:(\d+x\d)x1|u(\d+))", stem).groups()
    frames, data = clip or f"{uniform} frames", _SSV2 if "sthv2" in stem else _K400
    start = ", from MaskFeat" if "maskfeat" in stem else ""
    what = f"{letter.upper()}, {frames}, {data}{start}, {how} by MMAction2"
    return f"{folder}/{stem}_{stamp}.pth", what


_MVIT = "https://github.com/facebookresearch/mvit"
_D2_PROJECT = "https://github.com/facebookresearch/detectron2/tree/main/projects/MViTv2"
_SLOWFAST = "https://github.com/facebookresearch/SlowFast/tree/main/projects/"
_PYSF = META + "pyslowfast/"
_HUB = "https://huggingface.co/"

_ROWS = [
    *_group("mvit", META + "mvit/mvitv2_models/", _MVIT, _IMAGES),
    *_group("mvit", ZOO + "ImageNetPretrained/mvitv2/", _D2_PROJECT, _ZOO_IMAGES),
    *_group("detectron2", ZOO + "MViTv2/", _D2_PROJECT, _DETECTORS),
    *_group(
        "pyslowfast", _PYSF + "model_zoo/mvitv2/pysf_video_models/", _SLOWFAST + "mvitv2", _VIDEO
    ),
    *_group("pyslowfast", _PYSF + "masked_models/", _SLOWFAST + "maskfeat", _MASKFEAT),
    *_group("pyslowfast", _PYSF + "model_zoo/mvit/", _SLOWFAST + "mvit", _MVITV1),
    *_group(
        "torchvision",
        "https://download.pytorch.org/models/",
        "https://docs.pytorch.org/vision/stable/models/video_mvit.html",
        _TORCHVISION,
        "none stated (code: BSD-3-Clause)",
    ),
    *_group(
        "timm",
        _HUB,
        _HUB + "{name}",
        {name: (f"{name}/resolve/main/{HUB_FILE}", what) for name, what in _TIMM.items()},
        "Apache-2.0",
    ),
    *_group(
        "mmaction2",
        "https://download.openmmlab.com/mmaction/v1.0/recognition/mvit/",
        "https://github.com/open-mmlab/mmaction2/tree/main/configs/recognition/mvit",
        {f"mmaction2/{s}": _mmaction2(s, stamp) for s, stamp in (_CONVERTED | _TRAINED).items()},
    ),
]
PUBLISHED: dict[str, Published] = {row.name: row for row in _ROWS}
