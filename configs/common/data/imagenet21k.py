"""ImageNet-21K (winter 2021) joined with ImageNet-1K, whose 1000 classes come first of 19168.

The test set is ImageNet-1K, on the first 1000 outputs alone, as in the released code. The list of
classes is written by datasets/prepare_imagenet21k_classes.py.
"""

from .imagenet import dataloader

num_classes = 19168
train_images = 14_200_000  # about (paper, section 5.1)

dataloader.train.dataset.update(
    root=["imagenet/train", "imagenet21k"],
    name="imagenet21k_train",
    classes="imagenet21k_classes.txt",
)
dataloader.test.dataset.num_classes = 1000
dataloader.evaluator[0].classes = 1000
