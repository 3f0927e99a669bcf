"""Soft-NMS and views with RoI heads whose outputs are known."""

import pytest
import torch
from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, Instances
from test_rcnn import assert_same, run, settings
from torch import nn
from torch.nn import functional as F

from mvit_det.detection import GeneralizedRCNN, SoftNMS
from mvit_det.errors import UserError


class Identity(nn.Module):
    """A backbone whose feature map is the image."""

    size_divisibility = 0
    padding_constraints = None

    def forward(self, x):
        return {"picture": x}


class NoProposals(nn.Module):
    """Give no proposals, only the image sizes."""

    def forward(self, images, features):
        return [Instances(size) for size in images.image_sizes], {}


class FindsBright(nn.Module):
    """RoI heads that find the bright rectangle; its mask is its brightness in 4 x 4 cells."""

    mask_on = True

    def __init__(self, mask_of=None):
        super().__init__()
        self.box_predictor = nn.Module()
        self.box_predictor.test_score_thresh = 0.05
        self.box_predictor.test_nms_thresh = 0.6
        self.box_predictor.test_topk_per_image = 100
        self.mask_of = mask_of or (lambda crop: F.adaptive_avg_pool2d(crop, 4))

    def _forward_box(self, features, proposals):
        predictor = self.box_predictor
        self.threshold = predictor.test_score_thresh
        assert predictor.test_nms_thresh > 1 and predictor.test_topk_per_image < 0
        (picture,), (image,) = features["picture"], proposals
        rows, columns = (picture[0] > 0.1).nonzero(as_tuple=True)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        found = Instances(image.image_size, pred_boxes=Boxes(torch.tensor([box]).float()))
        found.scores = torch.tensor([0.9 - image.image_size[0] / 1000])
        found.pred_classes = torch.tensor([4])
        return [found]

    def forward_with_given_boxes(self, features, instances):
        (picture,), (known,) = features["picture"], instances
        crops = [picture[:1, y0:y1, x0:x1] for x0, y0, x1, y1 in known.pred_boxes.tensor.int()]
        known.pred_masks = torch.stack([self.mask_of(crop) for crop in crops])
        return [known]


def known_detector(mask_of=None, **options):
    return GeneralizedRCNN(
        backbone=Identity(),
        proposal_generator=NoProposals(),
        roi_heads=FindsBright(mask_of),
        pixel_mean=[0.0] * 3,
        pixel_std=[255.0] * 3,
        **options,
    ).eval()


def shaded_rectangle():
    """x 8 to 24 and y 16 to 32 of a dark image of 48 x 64; darker to the right and below."""
    image = torch.zeros(3, 48, 64)
    column, row = torch.arange(16).float(), torch.arange(16)[:, None]
    image[:, 16:32, 8:24] = 250 - 4 * column - 6 * row
    return image.to(torch.uint8)


def test_boxes_of_all_views_are_in_pixels_of_the_first():
    x = {"image": shaded_rectangle()}
    detector = known_detector(test_short_sides=[96, 48, 144], test_flip=True)
    (found,) = run(detector, [x], do_postprocess=False)
    assert tuple(found.image_size) == (96, 128)
    # the smallest view has the highest score; the boxes of the others overlap its box
    assert found.pred_boxes.tensor.tolist() == [[16, 32, 48, 64]]
    assert found.scores.tolist() == pytest.approx([0.9 - 0.048])
    (result,) = run(detector, [x])
    assert result["instances"].pred_boxes.tensor.tolist() == [[8, 16, 24, 32]]
    assert tuple(result["instances"].image_size) == (48, 64)


def test_masks_are_the_mean_of_all_views():
    def mask_of(crop):  # left to right 0, 1, 2, 3 tenths, plus the width of the view
        return (torch.arange(4) / 10 + crop.shape[-1] / 100).expand(1, 4, 4)

    x = {"image": shaded_rectangle()}
    detector = known_detector(mask_of, test_short_sides=[48, 96])
    (found,) = run(detector, [x], do_postprocess=False)
    ramp = torch.arange(4) / 10
    expected = ramp + (0.16 + 0.32) / 2
    torch.testing.assert_close(found.pred_masks, expected.expand(1, 1, 4, 4))
    # masks of mirrored views are flipped back, so the slope cancels
    detector = known_detector(mask_of, test_short_sides=[48, 96], test_flip=True)
    (found,) = run(detector, [x], do_postprocess=False)
    torch.testing.assert_close(found.pred_masks, torch.full((1, 1, 4, 4), 0.15 + 0.24))


def test_masks_of_known_boxes_in_frames_of_two_sizes():
    x = {"image": shaded_rectangle(), "height": 96, "width": 128}
    detector = known_detector(test_short_sides=[96, 48], test_flip=True)
    for scale in (1, 2):
        known = Instances((48 * scale, 64 * scale))
        known.pred_boxes = Boxes(torch.tensor([[8.0, 16, 24, 32]]) * scale)
        known.pred_classes = torch.tensor([2])
        known.note = torch.tensor([7])
        (found,) = run(detector, [x], [known], do_postprocess=False)
        assert found.note.tolist() == [7] and not known.has("pred_masks")
        assert found.pred_boxes.tensor.tolist() == known.pred_boxes.tensor.tolist()
        pixels = shaded_rectangle()[:1, 16:32, 8:24] / 255
        torch.testing.assert_close(
            found.pred_masks[0], F.adaptive_avg_pool2d(pixels, 4), rtol=0, atol=0.05
        )
        (result,) = run(detector, [x], [known])
        assert result["instances"].pred_boxes.tensor.tolist() == [[16, 32, 48, 64]]
        assert known.pred_boxes.tensor.tolist() == [[8 * scale, 16 * scale, 24 * scale, 32 * scale]]
        assert_same(result["instances"], detector_postprocess(found, 96, 128))


@pytest.mark.parametrize("views", [{}, dict(test_flip=True)])
def test_the_threshold_of_candidates_is_that_of_the_selection(views):
    x = {"image": shaded_rectangle()}
    soft = SoftNMS(score_threshold=0.01)
    for soft_nms, threshold in ((None, 0.05), ("linear", 1e-3), (soft, 0.01)):
        if soft_nms or views:
            detector = known_detector(soft_nms=soft_nms, **views)
            run(detector, [x])
            assert detector.roi_heads.threshold == threshold
            assert settings(detector) == [0.05, 0.6, 100]


def test_settings_are_restored_after_a_failure():
    detector = known_detector(soft_nms="linear")
    detector.roi_heads._forward_box = None  # cannot be called
    with pytest.raises(TypeError):
        run(detector, [{"image": shaded_rectangle()}])
    assert settings(detector) == [0.05, 0.6, 100]


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(soft_nms=True), "soft_nms=True must be linear, gaussian, null or a SoftNMS"),
        (dict(test_short_sides=800), r"test_short_sides=800 must be a list .* e.g. \[800\]"),
        (dict(test_short_sides=[800, -1]), "test_short_sides=-1 .* pixels, must be a whole number"),
        (dict(test_short_sides=["big"]), "test_short_sides='big'"),
        (dict(test_max_size=0), "test_max_size=0"),
    ],
)
def test_bad_options_end_in_one_sentence(options, words):
    with pytest.raises(UserError, match=words):
        known_detector(**options)
