"""The family of two-stage detectors."""

from typing import Any, Mapping, Sequence

import torch
from torch import nn
from torchvision.utils import draw_bounding_boxes

from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage, has_event_storage

from ..backbone import Backbone
from ..postprocessing import detector_postprocess

# One input, as the dataset mapper makes it: "image" (C, H, W), and where known "instances",
# "height", "width".
Input = Mapping[str, Any]


class GeneralizedRCNN(nn.Module):
    """Backbone, then region proposals, then per-region heads."""

    def __init__(
        self,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
        backbone: Backbone,
        proposal_generator: nn.Module,
        roi_heads: nn.Module,
    ):
        """
        Args:
            pixel_mean, pixel_std: per channel, on the scale of the input images.
            input_format: order of the channels, "RGB" or "BGR"; only ``vis_period`` needs it.
            vis_period: every so many iterations a picture of the ground truth beside the best
                proposals goes to the event storage; 0: never.
        """
        super().__init__()
        assert vis_period <= 0 or input_format, "vis_period needs an input_format."
        assert len(pixel_mean) == len(pixel_std), "pixel_mean and pixel_std differ in length."
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            column = torch.tensor(list(values), dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, column, persistent=False)
        self.input_format = input_format
        self.vis_period = vis_period
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: Sequence[Input]
    ) -> dict[str, torch.Tensor] | list[dict[str, Instances]]:
        """Train or detect.

        Args:
            batched_inputs: per image a dict with ``image`` (C, H, W); in training also
                ``instances`` with ``gt_boxes``, ``gt_classes`` and whatever the heads need; in
                evaluation perhaps ``height`` and ``width``, the resolution of the results.

        Returns:
            In training the losses by name; in evaluation per image {"instances": Instances}.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        targets = [x["instances"].to(self.device) for x in batched_inputs]
        features = self.backbone(images.tensor)
        proposals, proposal_losses = self.proposal_generator(images, features, targets)
        _, detector_losses = self.roi_heads(images, features, proposals, targets)
        if self.vis_period > 0 and has_event_storage():
            if get_event_storage().iter % self.vis_period == 0:
                self.visualize_training(batched_inputs, proposals)
        return {**detector_losses, **proposal_losses}

    def inference(
        self,
        batched_inputs: Sequence[Input],
        detected_instances: Sequence[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[Any]:
        """Detect.

        Args:
            detected_instances: boxes and classes of each image that are known already (at the
                resolution of the inputs): then only the other heads run.
            do_postprocess: bring results to ``height`` and ``width`` of the inputs, and return
                {"instances": Instances} per image; else Instances.
        """
        assert not self.training, "Call eval() before inference()."
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self.proposal_generator(images, features)
            results, _ = self.roi_heads(images, features, proposals)
        else:
            known = [instances.to(self.device) for instances in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, known)
        if not do_postprocess:
            return results
        processed = []
        for result, x in zip(results, batched_inputs):
            height, width = result.image_size
            size = x.get("height", height), x.get("width", width)
            processed.append({"instances": detector_postprocess(result, *size)})
        return processed

    def preprocess_image(self, batched_inputs: Sequence[Input]) -> ImageList:
        """Move to the device, normalise, pad to one size."""
        images = [
            (x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs
        ]
        return ImageList.from_tensors(
            images,
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )

    def visualize_training(
        self, batched_inputs: Sequence[Input], proposals: Sequence[Instances]
    ) -> None:
        """Store a picture of the first image: with its ground truth; with the 20 best proposals."""
        image = batched_inputs[0]["image"].cpu().clamp(0, 255).to(torch.uint8)
        if self.input_format == "BGR":
            image = image.flip(0)
        shown = batched_inputs[0]["instances"].gt_boxes, proposals[0].proposal_boxes[:20]
        halves = [draw_bounding_boxes(image, boxes.tensor.cpu(), colors="lime") for boxes in shown]
        get_event_storage().put_image(
            "Left: GT bounding boxes;  Right: Predicted proposals", torch.cat(halves, dim=2)
        )
