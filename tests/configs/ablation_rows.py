"""The rows of the paper's tables of ablations, written by hand: the config and figures of each."""

from typing import NamedTuple


class Row(NamedTuple):
    """One row of a table, or one of its columns where that is another data set."""

    label: str
    config: str
    accuracy: tuple[float, ...]  # of the paper: top-1, or box and mask AP
    parameters: float | None = None  # of the paper, millions
    flops: float | None = None  # of the paper, G


S_IN1K, S_COCO, S_K400 = "mvitv2_s_in1k", "mask_rcnn_mvitv2_s_3x", "mvitv2_s_16x4_k400"


def on_both(label: str, config: str, top1: float, *ap: float) -> list[Row]:
    """A row with a column of ImageNet and one of COCO."""
    names = (S_IN1K, S_COCO) if config == "S" else (f"{config}_in1k", f"{config}_coco")
    data = (("ImageNet", (top1,)), ("COCO", ap))
    return [Row(f"{label}, {where}", name, found) for name, (where, found) in zip(names, data)]


TABLES = {
    "4a": [
        Row("ViT-B, full", "table4a_vit_b_full", (82.0,), flops=17.5),
        Row("ViT-B, fixed win", "table4a_vit_b_windows", (80.0,), flops=17.0),
        Row("ViT-B, Swin", "table4a_vit_b_swin", (80.4,), flops=17.0),
        Row("ViT-B, Hwin", "table4a_vit_b_hwin", (82.1,), flops=17.1),
        Row("ViT-B, pooling", "table4a_vit_b_pooling", (81.9,), flops=10.9),
        Row("MViTv2-S, pooling", S_IN1K, (83.6,), flops=7.0),
        Row("MViTv2-S, pooling (stride=8)", "table4a_s_stride8", (83.2,), flops=6.3),
        Row("MViTv2-S, pooling + Swin", "table4a_s_swin", (82.8,), flops=6.4),
        Row("MViTv2-S, pooling + Hwin", "table4a_s_hwin", (83.0,), flops=6.5),
    ],
    "4b": [
        Row("ViT-B, full", "table4b_vit_b_full", (46.6,)),
        Row("ViT-B, fixed win", "table4b_vit_b_windows", (43.4,)),
        Row("ViT-B, Swin", "table4b_vit_b_swin", (45.1,)),
        Row("ViT-B, Hwin", "table4b_vit_b_hwin", (46.1,)),
        Row("ViT-B, pooling", "table4b_vit_b_pooling", (47.2,)),
        Row("ViT-B, pooling + Hwin", "table4b_vit_b_pooling_hwin", (46.9,)),
        Row("MViTv2-S, pooling", "table4b_s_pooling", (50.8,)),
        Row("MViTv2-S, pooling (stride=8)", "table4b_s_stride8", (50.0,)),
        Row("MViTv2-S, pooling + Swin", "table4b_s_swin", (48.9,)),
        Row("MViTv2-S, pooling + Hwin", S_COCO, (49.9,)),
    ],
    "6": [
        *on_both("(1) no pos.", "table6_no_position", 83.3, 49.2),
        *on_both("(2) abs. pos.", "table6_absolute", 83.5, 49.3),
        *on_both("(3) joint rel. pos.", "table6_joint", 83.6, 49.9),
        *on_both("(4) decomposed rel. pos.", "S", 83.6, 49.9),
        *on_both("(5) abs. + dec. rel. pos.", "table6_absolute_decomposed", 83.7, 49.8),
    ],
    "7": [
        *on_both("(1) w/o", "table7_without", 83.3, 48.5),
        *on_both("(2) residual", "table7_residual", 83.6, 49.3),
        *on_both("(3) full Q pooling + residual", "S", 83.6, 49.9),
        *on_both("(4) full Q pooling", "table7_full_q", 83.1, 48.5),
    ],
    "9": [
        Row("ViT-B, FPN: no", "table9_vit_b_single_scale", (45.1, 40.6), flops=725),
        Row("ViT-B, FPN: yes", "table4b_vit_b_full", (46.6, 42.3), flops=879),
        Row("MViTv2-S, FPN: no", "mask_rcnn_mvitv2_s_single_scale_3x", (47.0, 41.4), flops=276),
        Row("MViTv2-S, FPN: yes", S_COCO, (49.9, 45.1), flops=326),
    ],
    "14": [
        Row("S 16x4, IN1k", "mvitv2_s_16x4_in1k_k400", (82.2,), 34.5, 64),
        Row("S 16x4, IN21k", "mvitv2_s_16x4_in21k_k400", (82.6,), 34.5, 64),
        Row("B 32x3, IN1k", "mvitv2_b_32x3_in1k_k400", (83.3,), 51.2, 225),
        Row("B 32x3, IN21k", "mvitv2_b_32x3_in21k_k400", (84.3,), 51.2, 225),
        Row("L 40x3, scratch", "table14_l_40x3_scratch", (81.4,), 217.6, 1127),
        Row("L 40x3, IN1k", "table14_l_40x3_in1k", (83.4,), 217.6, 1127),
        Row("L 40x3, IN21k", "mvitv2_l_40x3_in21k_k400", (84.5,), 217.6, 1127),
        Row("L 312 40x3, scratch", "table14_l_40x3_312_scratch", (81.8,), 217.6, 2828),
        Row("L 312 40x3, IN1k", "table14_l_40x3_312_in1k", (84.4,), 217.6, 2828),
    ],
    "A.1": [
        Row("MViTv2-L", "tableA1_soft_nms", (56.9, 48.6), 270, 1519),
        Row(
            "MViTv2-L, multi-scale",
            "cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep_multiscale",
            (58.7, 50.5),
            270,
        ),
    ],
    "A.4": [
        *on_both("q", "S", 83.6, 49.9, 45.0),
        *on_both("k", "tableA4_k", 83.4, 49.7, 44.8),
        *on_both("q, k", "tableA4_qk", 83.6, 50.0, 45.0),
        *on_both("v", "tableA4_v", 83.6),
        *on_both("q, v", "tableA4_qv", 83.7),
        *on_both("q, k, v", "tableA4_qkv", 83.6),
    ],
    "A.5": [
        Row("MViTv2-S, IN-1k", S_COCO, (49.9, 45.1)),
        Row("MViTv2-S, IN-21k", "tableA5_s_in21k", (50.2, 45.1)),
        Row("MViTv2-B, IN-1k", "mask_rcnn_mvitv2_b_3x", (51.0, 45.7)),
        Row("MViTv2-B, IN-21k", "mask_rcnn_mvitv2_b_in21k_3x", (51.5, 46.4)),
        Row("MViTv2-L, IN-1k", "mask_rcnn_mvitv2_l_3x", (51.8, 46.2)),
        Row("MViTv2-L, IN-21k", "mask_rcnn_mvitv2_l_in21k_3x", (52.7, 46.8)),
    ],
    "A.6": [
        Row("(1) no pos.", "tableA6_no_position", (80.1,), 34.4),
        Row("(2) abs. pos.", "tableA6_absolute", (80.4,), 34.7),
        Row("(3) time-only rel.", "tableA6_time", (80.8,), 34.4),
        Row("(4) space-only rel.", "tableA6_space", (80.6,), 34.5),
        Row("(5) dec. space rel. + time rel.", S_K400, (81.0,), 34.5),
        Row("(6) joint space rel. + time rel.", "tableA6_joint_space", (81.1,), 37.1),
        Row("(7) joint space/time rel.", "tableA6_joint", (), 73.7),
    ],
    "A.7": [
        Row("(1) w/o", "tableA7_without", (79.3,), flops=64),
        Row("(2) full Q pooling", "tableA7_full_q", (79.7,), flops=65),
        Row("(3) residual", "tableA7_residual", (79.7,), flops=64),
        Row("(4) full Q pooling + residual", S_K400, (81.0,), flops=65),
    ],
}
