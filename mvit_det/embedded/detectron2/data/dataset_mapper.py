"""From a dataset dict to what a detector takes."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

logger = logging.getLogger(__name__)


class DatasetMapper:
    """Read the image of a dataset dict, augment it with its annotations, and make tensors.

    Args:
        is_train: keep the annotations, as "instances"; otherwise they are dropped.
        augmentations: applied in order, in testing too.
        image_format: "BGR", "RGB" or "L"; see `detection_utils.read_image`.
        use_instance_mask: keep segmentations, as gt_masks.
        instance_mask_format: "polygon" or "bitmask" (which an RLE needs).
        recompute_boxes: after the augmentations, draw the boxes anew around the masks; for crops
            that cut objects.
        use_keypoint, keypoint_hflip_indices, precomputed_proposal_topk: Detectron2 has them; here
            they are refused.
    """

    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ):
        if use_keypoint or keypoint_hflip_indices is not None or precomputed_proposal_topk:
            raise NotImplementedError(
                "Keypoints and precomputed proposals need the real Detectron2: leave use_keypoint, "
                "keypoint_hflip_indices and precomputed_proposal_topk unset."
            )
        assert (
            use_instance_mask or not recompute_boxes
        ), "recompute_boxes=True draws boxes around masks: set use_instance_mask=True too."
        self.is_train, self.recompute_boxes = is_train, recompute_boxes
        self.augmentations, self.image_format = T.AugmentationList(augmentations), image_format
        self.use_instance_mask, self.instance_mask_format = use_instance_mask, instance_mask_format
        purpose = "training" if is_train else "testing"
        logger.info(f"Images for {purpose} go through {self.augmentations}")

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map one dataset dict; it is not changed.

        Returns:
            Its entries, with "image", (C, H, W) uint8 after the augmentations, and in training
            "instances" in place of "annotations"; "height" and "width" stay the file's.
        """
        result = copy.deepcopy(dataset_dict)
        image = utils.read_image(result["file_name"], format=self.image_format)
        utils.check_image_size(result, image)
        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        pixels = aug_input.image
        # (H, W, C) -> (C, H, W)
        result["image"] = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        if not self.is_train:
            result.pop("annotations", None)
        elif "annotations" in result:
            self._transform_annotations(result, transforms, pixels.shape[:2])
        return result

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: T.Transform, image_shape: tuple[int, int]
    ) -> None:
        unused = {"keypoints"} if self.use_instance_mask else {"keypoints", "segmentation"}
        annotations = []
        for annotation in dataset_dict.pop("annotations"):
            # A crowd is no single object; only evaluation has a use for it.
            if not annotation.get("iscrowd", 0):
                wanted = {key: value for key, value in annotation.items() if key not in unused}
                annotations.append(
                    utils.transform_instance_annotations(wanted, transforms, image_shape)
                )
        instances = utils.annotations_to_instances(
            annotations, image_shape, mask_format=self.instance_mask_format
        )
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        dataset_dict["instances"] = utils.filter_empty_instances(instances)
