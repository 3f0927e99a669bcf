"""Detectron2's `DatasetMapper` that survives bad images: skipped in training, blank in testing."""

from typing import Any

import torch
from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import read_image

from mvit_det.data.bad_samples import BadSamples
from mvit_det.data.image_files import check_image_file
from mvit_det.errors import UserError


class TolerantMapper(DatasetMapper):
    """Maps a dataset dict as `DatasetMapper` does, and goes on when an image is bad.

    Bad is an image that is missing, cannot be decoded, has another size than annotated, is beyond
    Pillow's limit of pixels, has more than 8 bits per channel, or vanishes when resized. Each is
    logged once, with file, image id and reason.

    * In training the result is None, for which Detectron2's loader takes another image. Once
      ``min_seen`` images were asked for, a share of bad ones (among the different files seen so
      far) above ``max_bad_share`` raises `UserError`; so do five bad ones before any good one.
    * In testing nothing can be left out without changing what is measured, and a long training
      must not end in its evaluation. A bad image becomes a small blank one, marked by the key
      "unreadable" (the reason): its objects count as not found, so the metric can only be too low.
      `mvit_det.evaluation.UnreadableImages` reports the number with the metrics.

    The other arguments are those of `detectron2.data.DatasetMapper`.
    """

    def __init__(
        self, is_train: bool, *, max_bad_share: float = 0.1, min_seen: int = 100, **arguments: Any
    ) -> None:
        super().__init__(is_train, **arguments)
        self.unusable = BadSamples(
            "image", is_train, max_bad_share, min_seen, "tested as a blank image"
        )

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any] | None:
        file_name = dataset_dict["file_name"]
        self.unusable.asked_for(file_name)
        self._refuse_rle(dataset_dict)
        try:
            check_image_file(file_name)
            return super().__call__(dataset_dict)
        except Exception as error:
            # Decoders fail in many ways; a ValueError is also what a vanished image ends in.
            if not isinstance(error, (OSError, ValueError)) and self._reads(file_name):
                raise RuntimeError(
                    f"Image {file_name} (id {dataset_dict.get('image_id')}) reads well, but "
                    f"mapping it failed: {type(error).__name__}: {error}"
                ) from error
            reason = str(error) or type(error).__name__
            self.unusable.add(file_name, f" (id {dataset_dict.get('image_id')})", reason)
            return None if self.is_train else self._blank(dataset_dict, reason)

    def _refuse_rle(self, dataset_dict: dict[str, Any]) -> None:
        if not (
            self.is_train and self.use_instance_mask and self.instance_mask_format == "polygon"
        ):
            return
        for index, annotation in enumerate(dataset_dict.get("annotations", [])):
            if isinstance(annotation.get("segmentation"), dict) and not annotation.get("iscrowd"):
                raise UserError(
                    f"Annotation {annotation.get('id', f'#{index}')} of {dataset_dict['file_name']} "
                    f"(image id {dataset_dict.get('image_id')}) has an RLE mask, which "
                    "instance_mask_format='polygon' cannot hold: set it to 'bitmask' in the mapper."
                )

    def _reads(self, file_name: str) -> bool:
        try:
            check_image_file(file_name)
            read_image(file_name, self.image_format)
        except Exception:
            return False
        return True

    def _blank(self, dataset_dict: dict[str, Any], reason: str) -> dict[str, Any]:
        """A grey image of 64 x 64; detections are scaled to the annotated size as always."""
        channels = 1 if self.image_format == "L" else 3
        image = torch.full((channels, 64, 64), 128, dtype=torch.uint8)
        kept = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        return {"height": 64, "width": 64, **kept, "image": image, "unreadable": reason}
