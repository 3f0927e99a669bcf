import os

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.evaluation import COCOEvaluator
from mvit_det.data import TolerantMapper, named_dataset
from mvit_det.evaluation import PredictionPictures, UnreadableImages
from omegaconf import OmegaConf

num_workers = min(4, os.cpu_count() or 1)

dataloader = OmegaConf.create()

dataloader.train = L(build_detection_train_loader)(
    dataset=L(named_dataset)(names="coco_2017_train", num_classes="${model.roi_heads.num_classes}"),
    mapper=L(TolerantMapper)(
        is_train=True,
        augmentations=[
            # Half of the images are first cropped, as in DETR. The paper does not mention it; the
            # released models were trained so.
            L(T.RandomApply)(
                tfm_or_aug=L(T.AugmentationList)(
                    augs=[
                        L(T.ResizeShortestEdge)(
                            short_edge_length=[400, 500, 600], sample_style="choice"
                        ),
                        L(T.RandomCrop)(crop_type="absolute_range", crop_size=(384, 600)),
                    ]
                ),
                prob=0.5,
            ),
            L(T.ResizeShortestEdge)(
                short_edge_length=tuple(range(480, 801, 32)), sample_style="choice", max_size=1333
            ),
            L(T.RandomFlip)(horizontal=True),
        ],
        image_format="RGB",
        use_instance_mask=True,
    ),
    total_batch_size=64,
    num_workers=num_workers,
)

dataloader.test = L(build_detection_test_loader)(
    dataset=L(named_dataset)(
        names="coco_2017_val", filter_empty=False, num_classes="${model.roi_heads.num_classes}"
    ),
    mapper=L(TolerantMapper)(
        is_train=False,
        augmentations=[L(T.ResizeShortestEdge)(short_edge_length=800, max_size=1333)],
        image_format="${...train.mapper.image_format}",
    ),
    num_workers=num_workers,
)

dataloader.evaluator = [
    L(COCOEvaluator)(
        dataset_name="${dataloader.test.dataset.names}", output_dir="${train.output_dir}"
    ),
    L(PredictionPictures)(
        dataset_name="${dataloader.test.dataset.names}", output_dir="${train.output_dir}"
    ),
    L(UnreadableImages)(),
]
