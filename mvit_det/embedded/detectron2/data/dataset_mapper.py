"""The mapper from dataset dicts to inputs of a detector."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import torch

from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Instances

logger = logging.getLogger(__name__)


class DatasetMapper:
    """Read the image of a dataset dict, augment it with its annotations, and make tensors.

    Args:
        is_train: convert the annotations to "instances"; otherwise they are dropped.
        augmentations: applied in order, at test time too.
        image_format: "BGR", "RGB" or "L"; see `detection_utils.read_image`.
        use_instance_mask: keep segmentations, as gt_masks.
        instance_mask_format: "polygon" or "bitmask" (required for RLE masks).
        recompute_boxes: after the augmentations, compute the boxes from the masks; for crops that
            cut objects.

    Raises:
        AssertionError: ``recompute_boxes`` without ``use_instance_mask``.
    """

    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        instance_mask_format: str = "polygon",
        recompute_boxes: bool = False,
    ):
        assert use_instance_mask or not recompute_boxes, "recompute_boxes needs use_instance_mask."
        self.is_train, self.recompute_boxes = is_train, recompute_boxes
        self.augmentations, self.image_format = T.AugmentationList(augmentations), image_format
        self.use_instance_mask, self.instance_mask_format = use_instance_mask, instance_mask_format
        purpose = "training" if is_train else "testing"
        logger.info(f"Images for {purpose} go through {self.augmentations}")

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Return a mapped copy of one dataset dict.

        "image" is (C, H, W) uint8, 0..255, after the augmentations; in training "instances" replace
        "annotations". "height" and "width" remain those of the file.

        Raises:
            SizeMismatchError: the image has another size than the dict.
        """
        result = copy.deepcopy(dataset_dict)
        image = utils.read_image(result["file_name"], format=self.image_format)
        utils.check_image_size(result, image)
        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        pixels = aug_input.image
        result["image"] = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        annotations = result.pop("annotations", None)
        if self.is_train and annotations is not None:
            result["instances"] = self._make_instances(annotations, transforms, pixels.shape[:2])
        return result

    def _make_instances(
        self, annotations: list[dict[str, Any]], transforms: T.Transform, size: tuple[int, int]
    ) -> Instances:
        moved = []
        for annotation in annotations:
            if not self.use_instance_mask:
                annotation.pop("segmentation", None)
            # A crowd is not a single object; only evaluation uses it.
            if not annotation.get("iscrowd", 0):
                moved.append(utils.transform_instance_annotations(annotation, transforms, size))
        instances = utils.annotations_to_instances(moved, size, self.instance_mask_format)
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return utils.filter_empty_instances(instances)
