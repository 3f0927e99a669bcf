"""The classifier of the paper's Tables 1 to 3: MViTv2, the mean of its tokens, one linear layer."""

from detectron2.config import LazyCall as L

from mvit_det.backbone import VARIANTS, VIT_B
from mvit_det.recognition import ClassifierMViT, Recognizer
from mvit_det.tasks import Classification


def mvitv2(variant, drop_path_rate, input_size=(224, 224), **changes):
    """Configure a variant of the paper's Table 1 as the backbone of a classifier."""
    row = VARIANTS[variant]
    return L(ClassifierMViT)(
        # (height, width); the data transforms refer to this key.
        input_size=input_size,
        embed_dim=row.embed_dim,
        num_heads=row.num_heads,
        last_block_indexes=row.last_block_indexes,
        drop_path_rate=drop_path_rate,
        **changes,
    )


def vit_b(drop_path_rate, **changes):
    """Configure the ViT-B of the paper's Table 4a as the backbone of a classifier."""
    return L(ClassifierMViT)(
        input_size=(224, 224),
        drop_path_rate=drop_path_rate,
        **{"adaptive_kv_stride": (1, 1), **VIT_B, **changes},
    )


model = L(Recognizer)(backbone=mvitv2("T", drop_path_rate=0.1), num_classes=1000)

task = L(Classification)()
