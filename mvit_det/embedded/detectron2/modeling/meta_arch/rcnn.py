"""Two-stage detectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from detectron2.structures import ImageList, Instances

from ..postprocessing import detector_postprocess

# One image, as the dataset mapper returns it: "image" (C, H, W); in training "instances" with
# "gt_boxes", "gt_classes", "gt_masks"; optional "height" and "width" of the results.
Input = Mapping[str, Any]


class GeneralizedRCNN(nn.Module):
    """A backbone, region proposals, and heads for each region.

    ``pixel_mean`` and ``pixel_std`` are per channel, in the order of ``input_format``, for pixels
    0..255.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(
        self, *, pixel_mean, pixel_std, input_format=None, backbone, proposal_generator, roi_heads
    ):
        super().__init__()
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            column = torch.tensor(list(values), dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, column, persistent=False)
        self.input_format, self.backbone = input_format, backbone
        self.proposal_generator, self.roi_heads = proposal_generator, roi_heads

    @property
    def device(self) -> torch.device:
        """Return the device of the model."""
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: Sequence[Input]
    ) -> dict[str, torch.Tensor] | list[dict[str, Instances]]:
        """Return losses by name in training; {"instances": Instances} per image in evaluation."""
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        targets = [x["instances"].to(self.device) for x in batched_inputs]
        features = self.backbone(images.tensor)
        proposals, proposal_losses = self.proposal_generator(images, features, targets)
        _, detector_losses = self.roi_heads(images, features, proposals, targets)
        return {**detector_losses, **proposal_losses}

    def inference(self, batched_inputs, detected_instances=None, do_postprocess=True) -> list[Any]:
        """Detect objects, or add masks to ``detected_instances``.

        With ``do_postprocess``, returns {"instances": Instances} per image, resized to "height" and
        "width" of the inputs; otherwise Instances at the resolution of the network.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self.proposal_generator(images, features)
            results, _ = self.roi_heads(images, features, proposals)
        else:
            detections = [instances.to(self.device) for instances in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, detections)
        if not do_postprocess:
            return results
        processed = []
        for result, x in zip(results, batched_inputs):
            height, width = result.image_size
            size = x.get("height", height), x.get("width", width)
            processed.append({"instances": detector_postprocess(result, *size)})
        return processed

    def preprocess_image(self, batched_inputs: Sequence[Input]) -> ImageList:
        """Normalise the images and pad them to one size, on the device of the model."""
        images = [
            (x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs
        ]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)
