"""A detector as a function of tensors alone, which `torch.export` traces."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mvit_det.detection.rcnn import GeneralizedRCNN, postprocess
from mvit_det.errors import UserError

Tensors = Sequence[torch.Tensor]
Ports = Mapping[str, tuple[str, str, str]]
NEAR = 1e-4  # of a cut: rounding decides
SHAKEN = 4  # how often the pixels are changed by about `NEAR` of their range


class DetectorProgram(nn.Module):
    """Detect the objects of a padded batch of images, by the modules of a `GeneralizedRCNN`.

    Args:
        model: it is copied, not changed.

    Raises:
        UserError: the model tests with Soft-NMS or with several views, or is another detector.
    """

    inputs: ClassVar[Ports] = {
        "images": ("float32", "N,3,H,W", "pixels 0..255, padded at bottom and right"),
        "sizes": ("int64", "N,2", "height and width of each image, without padding"),
    }
    outputs: Ports = {
        "image": ("int64", "M", "index of the image of each object"),
        "boxes": ("float32", "M,4", "x1, y1, x2, y2 in pixels of the image as it was given"),
        "scores": ("float32", "M", "0..1; the objects of an image are in order of score"),
        "classes": ("int64", "M", "index of the class, from 0"),
        "masks": ("float32", "M,S,S", "probabilities over the box: resize them to it"),
    }

    def __init__(self, model: Any):
        super().__init__()
        check_exportable(model)
        self.model = fuse_norms(deepcopy(model))
        self.unchanged = [model]  # in a list: no part of this module
        self.multiple = max(model.backbone.size_divisibility, 1)
        if not model.roi_heads.mask_on:
            self.outputs = {name: x for name, x in self.outputs.items() if name != "masks"}

    def example_shape(self, size: Sequence[int] | None) -> tuple[int, ...]:
        """Return the shape of one image to trace with."""
        return 3, *(size or (160, 192))

    def forward(self, images: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Detect objects; see ``inputs`` and ``outputs``."""
        size_rows: Any = sizes  # in place of a list, see `BatchSizes`
        batch = ImageList(self.normalise(images, sizes), size_rows)
        features = self.model.backbone(batch.tensor)
        proposals, _ = self.model.proposal_generator(batch, features)
        (found,), _ = self.model.roi_heads(batch, features, proposals)
        outputs: tuple = (
            found.image_size.image,
            found.pred_boxes.tensor,
            found.scores,
            found.pred_classes,
        )
        if found.has("pred_masks"):
            outputs = *outputs, found.pred_masks[:, 0].float()
        return outputs

    def networks(self) -> list[nn.Module]:
        """Return the parts that may compute in half precision: all but the arithmetic of boxes."""
        heads = self.model.roi_heads
        parts = self.model.backbone, self.model.proposal_generator.rpn_head
        stages = [heads.box_head, heads.box_predictor]
        if isinstance(heads.box_head, nn.ModuleList):
            stages = [*heads.box_head, *heads.box_predictor]
        return [*parts, *stages, *([heads.mask_head] if heads.mask_on else [])]

    def normalise(self, images: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """Normalise images and pad them with zeros to a multiple of the coarsest stride."""
        height, width = images.shape[-2:]
        rows, columns = (
            torch.arange(n, device=sizes.device) < sizes[:, axis, None]
            for axis, n in enumerate((height, width))
        )
        inside = (rows[:, :, None] & columns[:, None, :])[:, None]
        pixels = (images - self.model.pixel_mean) / self.model.pixel_std
        padding = [
            (n + self.multiple - 1) // self.multiple * self.multiple - n for n in (height, width)
        ]  # (ONNX rounds quotients of negative numbers up)
        return F.pad(pixels * inside.to(pixels.dtype), (0, padding[1], 0, padding[0]))

    def reference(
        self, batch: Sequence[Mapping[str, Any]], inputs: Ports | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return what the model gives as ``outputs``, with the padding of ``inputs``."""
        height, width = (inputs or self.inputs)["images"][1].split(",")[2:]
        fixed = [{"image": torch.zeros(3, int(height), int(width))}] if height.isdigit() else []
        found = self.unchanged[0].inference([*batch, *fixed], do_postprocess=False)[: len(batch)]
        image = [torch.full((len(x),), i) for i, x in enumerate(found)]
        fields = [[x.pred_boxes.tensor, x.scores, x.pred_classes] for x in found]
        if "masks" in self.outputs:
            fields = [[*f, x.pred_masks[:, 0]] for f, x in zip(fields, found)]
        return torch.cat(image), *(torch.cat(column) for column in zip(*fields))

    @staticmethod
    def encode(batch: Sequence[Mapping[str, Any]], inputs: Ports) -> tuple[torch.Tensor, ...]:
        """Convert the model's input to that of the program.

        Raises:
            UserError: an image is larger than the fixed size of the program.
        """
        images = [x["image"].float() for x in batch]
        padded = ImageList.from_tensors(images, 0).tensor
        axes = inputs["images"][1].split(",")[2:]
        if axes[0].isdigit():
            rest = [int(fixed) - n for fixed, n in zip(axes, padded.shape[2:])]
            if min(rest) < 0:
                raise UserError(
                    f"Images of {tuple(padded.shape[2:])} (H, W) are larger than the {axes[0]} x "
                    f"{axes[1]} that the model was exported for: export with a larger --size."
                )
            padded = F.pad(padded, (0, rest[1], 0, rest[0]))
        return padded, torch.tensor([list(x.shape[-2:]) for x in images])

    @staticmethod
    def decode(outputs: Tensors, batch: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Convert the program's output to the model's, scaled to the size of each picture."""
        image, boxes, scores, classes, *masks = outputs
        results = []
        for index, x in enumerate(batch):
            rows = image == index
            fields: dict[str, Any] = {"pred_boxes": Boxes(boxes[rows]), "scores": scores[rows]}
            fields["pred_classes"] = classes[rows]
            if masks:
                fields["pred_masks"] = masks[0][rows][:, None]
            found = Instances(tuple(x["image"].shape[-2:]), **fields)
            results.append({"instances": postprocess(x, found)})
        return results

    def nearby(self, batch: Sequence[Mapping[str, Any]], inputs: Ports) -> Iterator[Tensors]:
        """Yield what the model gives for pixels that differ by less than a rounding to uint8."""
        for seed in range(SHAKEN):
            generator = torch.Generator().manual_seed(seed)
            shaken = [
                {**x, "image": x["image"] + 255 * NEAR * torch.randn(shape, generator=generator)}
                for x in batch
                for shape in [x["image"].shape]
            ]
            yield self.reference(shaken, inputs)

    def compare(
        self,
        expected: Tensors,
        found: Tensors,
        nearby: Callable[[], Iterable[Tensors]] = tuple,
    ) -> dict[str, float]:
        """Match the objects of two outputs, and return how much they differ.

        ``missing`` are objects of one output that the other lacks, ``at_a_cut`` those among them
        whose presence rounding decides: their score is within `NEAR` of the threshold or of the
        last one, or their overlap with a better object of their class is within `NEAR` of NMS's,
        or the same holds of their proposal. The latter is not in the outputs, so it is assumed of
        objects that also appear, or disappear, in one of the outputs ``nearby()``.
        """
        first, second = _match(expected, found)
        differences = {
            name: _largest(expected[i + 1][first], found[i + 1][second])
            for i, name in enumerate(("boxes", "scores", "classes", "masks"))
            if name != "classes" and name in self.outputs
        }
        lost = [
            torch.ones(len(output[2]), dtype=torch.bool).index_fill(0, rows, False)
            for output, rows in ((expected, first), (found, second))
        ]
        at_cut = [self._at_a_cut(output) & rest for output, rest in zip((expected, found), lost)]
        missing = sum(int(rest.sum()) for rest in lost)
        if missing > sum(int(rows.sum()) for rows in at_cut):
            for other in nearby():
                kept, _ = _match(expected, other)
                _, known = _match(other, found)
                at_cut[0] |= lost[0].index_fill(0, kept, False)
                at_cut[1][known] |= lost[1][known]
        counts = {
            "objects": len(expected[2]),
            "missing": missing,
            "at_a_cut": sum(int(rows.sum()) for rows in at_cut),
        }
        return {**differences, **counts}

    def _at_a_cut(self, output: Tensors) -> torch.Tensor:
        image, boxes, scores, classes = output[:4]
        predictor = self.model._box_predictor()
        near = scores < predictor.test_score_thresh + NEAR
        same = (image[:, None] == image) & (classes[:, None] == classes)
        overlap = pairwise_iou(Boxes(boxes), Boxes(boxes)) * same
        near |= (overlap > predictor.test_nms_thresh - NEAR).fill_diagonal_(False).any(dim=1)
        for index in image.unique():
            mine = image == index
            if int(mine.sum()) == predictor.test_topk_per_image:
                near |= mine & (scores < scores[mine].min() + NEAR)
        return near


def check_exportable(model: Any) -> None:
    """Raise a `UserError` for a detector whose testing is no program of tensors."""
    if not isinstance(model, GeneralizedRCNN):
        raise UserError(
            f"{type(model).__name__} cannot be exported: mvit_det.detection.GeneralizedRCNN can."
        )
    if model.soft_nms is not None:
        raise UserError(
            "soft_nms cannot be exported, because it picks boxes one after the other: export with "
            "model.soft_nms=null."
        )
    if model.test_short_sides or model.test_flip:
        raise UserError(
            "test_short_sides and test_flip cannot be exported: export with "
            "model.test_short_sides=[] model.test_flip=false."
        )


def fuse_norms(model: Any) -> Any:
    """Fuse the batch norms of convolutions into their weights, in place.

    Runtimes do so anyway, and the tracer asks of a batch norm whether its input, the crops of an
    unknown number of boxes, is empty.
    """
    for conv in model.modules():
        norm = getattr(conv, "norm", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            statistics: Any = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
            conv.register_module("norm", None)
    return model


def _match(expected: Tensors, found: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Pair the objects of equal image and class that overlap by 0.9 at least, each at most once."""
    same = (expected[0][:, None] == found[0]) & (expected[3][:, None] == found[3])
    overlap = pairwise_iou(Boxes(expected[1]), Boxes(found[1])) * same
    pairs: dict[int, int] = {}
    for row in range(len(overlap)):
        free = overlap[row].clone()
        free[list(pairs.values())] = 0
        if len(free) and free.max() >= 0.9:
            # of several, the one of the most similar score
            close = (free >= free.max() - 1e-3).nonzero()[:, 0]
            gap = (found[2][close] - expected[2][row]).abs()
            pairs[row] = int(close[gap.argmin()])
    return torch.tensor(list(pairs), dtype=torch.int64), torch.tensor(
        list(pairs.values()), dtype=torch.int64
    )


def _largest(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest value; 0 without values."""
    if not expected.numel():
        return 0.0
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
