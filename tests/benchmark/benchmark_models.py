"""Small models for the tests of the benchmark, and its command line on one of them."""

from pathlib import Path

from mvit_det.benchmark.__main__ import argument_parser, main

ROOT = Path(__file__).resolve().parents[2]

# One block of 8 channels in windows of 4 x 4, one of 16 in full attention.
BACKBONE = """
from detectron2.config import LazyCall as L
from mvit_det.detection import MViT

model = L(MViT)(
    img_size=32, embed_dim=8, depth=2, last_block_indexes=(0, 1), out_features=("scale2", "scale3"),
    adaptive_kv_stride=2, adaptive_window_size=4,
)
"""
DETECTOR = f"""
from detectron2.config import LazyConfig

model = LazyConfig.load({str(ROOT / "configs/common/models/mask_rcnn.py")!r}).model
model.backbone.bottom_up.update(embed_dim=8, depth=4, last_block_indexes=(0, 1, 2, 3))
model.backbone.out_channels = 8
model.roi_heads.num_classes = 3
model.roi_heads.box_head.fc_dims = [16, 16]
model.roi_heads.mask_head.conv_dims = [8, 8]
"""
CASCADE = f"""
from detectron2.config import LazyConfig

model = LazyConfig.load({str(ROOT / "configs/common/models/cascade_mask_rcnn.py")!r}).model
model.backbone.bottom_up.update(embed_dim=8, depth=4, last_block_indexes=(0, 1, 2, 3))
model.backbone.out_channels = 8
model.roi_heads.num_classes = 3
for head in model.roi_heads.box_heads:
    head.update(conv_dims=[8, 8], fc_dims=[16])
model.roi_heads.mask_head.conv_dims = [8, 8]
"""
SINGLE_SCALE = f"""
from detectron2.config import LazyConfig

name = {str(ROOT / "configs/mask_rcnn_mvitv2_s_single_scale_3x.py")!r}
model, published = LazyConfig.load(name, ("model", "published"))
model.backbone.update(embed_dim=1, depth=4, last_block_indexes=(0, 1, 2, 3))
model.proposal_generator.head.in_channels = 8
model.roi_heads.num_classes = 3
model.roi_heads.box_head.update(fc_dims=[16, 16])
model.roi_heads.mask_head.conv_dims = [8, 8]
for head in (model.roi_heads.box_head, model.roi_heads.mask_head):
    head.input_shape.channels = 8
"""
# Mean of the tokens, and a class token; each with a nominal size.
RECOGNIZER = """
from detectron2.config import LazyCall as L
from mvit_det.recognition import MViT, Recognizer

model = L(Recognizer)(
    backbone=L(MViT)(input_size=(32, 64), embed_dim=8, last_block_indexes=(0, 1)), num_classes=5
)
"""
CLIPS = """
from detectron2.config import LazyCall as L
from mvit_det.recognition import MViT, Recognizer

model = L(Recognizer)(
    backbone=L(MViT)(
        input_size=(4, 32, 32), embed_dim=8, last_block_indexes=(0, 1), class_token=True,
        patch_kernel=(3, 7, 7), patch_stride=(2, 4, 4), patch_padding=(1, 3, 3),
        pool_kernel=(3, 3, 3), adaptive_kv_stride=(1, 8, 8),
    ),
    num_classes=5,
)
"""
SMALL = """
from detectron2.config import LazyCall as L
from mvit_det.recognition import ActionDetector, MViT, Recognizer

backbone = L(MViT)(
    input_size=(4, 64, 96), embed_dim=8, last_block_indexes=(0, 1), class_token=True,
    patch_kernel=(3, 7, 7), patch_stride=(2, 4, 4), patch_padding=(1, 3, 3),
    pool_kernel=(3, 3, 3), adaptive_kv_stride=(1, 8, 8),
)
model = L({kind})(backbone=backbone, num_classes=5)
"""
ACTIONS, CLASSES = (SMALL.format(kind=kind) for kind in ("ActionDetector", "Recognizer"))


def run(tmp_path, config, *arguments):
    path = tmp_path / "config.py"
    path.write_text(config)
    return main(
        argument_parser().parse_args(["--config-file", str(path), "--device", "cpu", *arguments])
    )
