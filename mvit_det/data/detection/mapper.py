"""Detectron2's `DatasetMapper`, which skips bad images in training and tests blank ones."""

from contextlib import nullcontext
from typing import Any

import torch
from detectron2.data import DatasetMapper

from mvit_det.data.bad_samples import BadSamples
from mvit_det.data.image_files import PictureFormat, check_image_file, current_pictures
from mvit_det.errors import UserError


class TolerantMapper(DatasetMapper):
    """Maps a dataset dict like `DatasetMapper`, and continues if an image is bad.

    An image is bad if it is missing, cannot be decoded, has another size than annotated, does not
    suit the `PictureFormat` (number of pixels, more than 8 bits per channel), or vanishes when
    resized. Each is logged once, with file, image id and reason.

    * In training the result is None, and Detectron2's loader takes another image. After
      ``min_seen`` requests, a share of bad files (among the different files so far) above
      ``max_bad_share`` raises `UserError`; so do five bad files before any good one.
    * In testing no image can be left out without changing what is measured, and an evaluation must
      not end a long training. A bad image is replaced by a small blank one with the key
      "unreadable" (the reason): its objects count as not found, so the metric can only be too low.
      `mvit_det.evaluation.UnreadableImages` reports the number with the metrics.

    Args:
        is_train: training or testing, as above.
        max_bad_share: largest share (0..1) of bad files that is skipped in training.
        min_seen: requests before the share is checked, if it is above 0.
        arguments: of `detectron2.data.DatasetMapper`.
    """

    def __init__(
        self, is_train: bool, *, max_bad_share: float = 0.1, min_seen: int = 100, **arguments: Any
    ) -> None:
        super().__init__(is_train, **arguments)
        self.bad_samples = BadSamples(
            "image", is_train, max_bad_share, min_seen, "tested as a blank image"
        )
        self.pictures = current_pictures()  # processes of the loader may not inherit it

    def __call__(  # type: ignore[override]  # as `MapDataset` of Detectron2 allows
        self, dataset_dict: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Map a dataset dict; "image" is uint8 (C, H, W). None: a bad image, in training.

        Raises:
            UserError: too many images are bad, or a mask is RLE and the mask format "polygon".
            RuntimeError: mapping fails on an image that can be read.
        """
        file_name = dataset_dict["file_name"]
        self.bad_samples.count_request(file_name)
        self._refuse_rle(dataset_dict)
        try:
            kind = check_image_file(file_name, self.pictures)
            plain = self.pictures == PictureFormat() and kind != "TIFF"
            with nullcontext() if plain else self.pictures.in_host():
                return super().__call__(dataset_dict)
        except Exception as error:
            # Decoders fail in many ways; resizing an image to nothing raises ValueError, too.
            readable = self._is_readable(file_name)
            place = self._faulty_annotation(dataset_dict) if readable else ""
            if readable and not isinstance(error, (OSError, ValueError)):
                raise RuntimeError(
                    f"Image {file_name} (id {dataset_dict.get('image_id')}) reads well, but "
                    f"mapping it failed: {place}{type(error).__name__}: {error}"
                ) from error
            reason = place + (str(error) or type(error).__name__)
            self.bad_samples.add(file_name, f" (id {dataset_dict.get('image_id')})", reason)
            return None if self.is_train else self._blank(dataset_dict, reason)

    def _refuse_rle(self, dataset_dict: dict[str, Any]) -> None:
        polygons = self.use_instance_mask and self.instance_mask_format == "polygon"
        if not (self.is_train and polygons):
            return
        for index, annotation in enumerate(dataset_dict.get("annotations", [])):
            if isinstance(annotation.get("segmentation"), dict) and not annotation.get("iscrowd"):
                raise UserError(
                    f"Annotation {annotation.get('id', f'#{index}')} of {dataset_dict['file_name']}"
                    f" (image id {dataset_dict.get('image_id')}) has an RLE mask, which "
                    "instance_mask_format='polygon' cannot hold: set it to 'bitmask' in the mapper."
                )

    def _faulty_annotation(self, dataset_dict: dict[str, Any]) -> str:
        """Name the first annotation that cannot be mapped, "annotation 7: "; "" if none is."""
        annotations = dataset_dict.get("annotations", [])
        for part in [[], *([each] for each in annotations)]:
            try:
                super().__call__({**dataset_dict, "annotations": part})
            except Exception:
                # without annotations it is the image that cannot be mapped
                return f"annotation {part[0].get('id', 'without id')}: " if part else ""
        return ""

    def _is_readable(self, file_name: str) -> bool:
        try:
            check_image_file(file_name, self.pictures)
            self.pictures.read(file_name, self.image_format)
        except Exception:
            return False
        return True

    def _blank(self, dataset_dict: dict[str, Any], reason: str) -> dict[str, Any]:
        """Return a grey image uint8 (C, 64, 64); detections are scaled to the annotated size."""
        channels = 1 if self.image_format == "L" else 3
        image = torch.full((channels, 64, 64), 128, dtype=torch.uint8)
        kept = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        return {"height": 64, "width": 64, **kept, "image": image, "unreadable": reason}
