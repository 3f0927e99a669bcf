"""Norms, convolutions, NMS and mask pasting; on either host."""

import pytest
import torch
from detectron2.layers import (
    Conv2d,
    NaiveSyncBatchNorm,
    ROIAlign,
    batched_nms,
    get_norm,
    paste_masks_in_image,
)
from torch import nn


@pytest.mark.parametrize(
    "name, kind",
    [
        ("BN", nn.BatchNorm2d),
        ("GN", nn.GroupNorm),
        ("naiveSyncBN", NaiveSyncBatchNorm),
        ("naiveSyncBN_N", NaiveSyncBatchNorm),
        (nn.InstanceNorm2d, nn.InstanceNorm2d),
    ],
)
def test_get_norm_by_name(name, kind):
    assert type(get_norm(name, 64)) is kind


def test_get_norm_of_none_and_of_an_unknown_name():
    assert get_norm("", 4) is None and get_norm(None, 4) is None
    with pytest.raises(KeyError):
        get_norm("BatchNorm", 4)


def test_layer_norm_is_over_channels():
    norm = get_norm("LN", 3)
    norm.weight.data = torch.tensor([1.0, 2.0, 3.0])
    norm.bias.data = torch.tensor([0.0, 0.0, 1.0])
    x = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    root = 1.5**0.5  # mean 2, variance 2 / 3
    expected = torch.tensor([-root, 0.0, 3 * root + 1]).view(1, 3, 1, 1).expand_as(x)
    torch.testing.assert_close(norm(x), expected)


def test_naive_sync_bn_in_one_process_is_batch_norm():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 5)
    ours, torchs = NaiveSyncBatchNorm(3, stats_mode="N"), nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(x), torchs(x))
    torch.testing.assert_close(ours.running_var, torchs.running_var)
    with pytest.raises(AssertionError):
        NaiveSyncBatchNorm(3, stats_mode="M")


def test_conv2d_norm_and_activation():
    conv = Conv2d(2, 3, 1, bias=False, norm=nn.BatchNorm2d(3), activation=torch.relu)
    assert "norm.weight" in conv.state_dict()
    x = torch.randn(2, 2, 4, 4)
    expected = torch.relu(
        nn.functional.batch_norm(nn.functional.conv2d(x, conv.weight), None, None, training=True)
    )
    torch.testing.assert_close(conv(x), expected)


def test_convolution_of_an_empty_batch_has_gradients():
    layer = Conv2d(2, 3, 3, padding=1)
    out = layer(torch.zeros(0, 2, 4, 4))
    assert out.shape[:2] == (0, 3)
    out.sum().backward()
    assert layer.weight.grad.abs().sum() == 0


def test_batched_nms_suppresses_within_a_class_only():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
    scores = torch.tensor([0.5, 0.9, 0.1])
    assert batched_nms(boxes, scores, torch.tensor([0, 0, 1]), 0.5).tolist() == [1, 2]
    assert batched_nms(boxes, scores, torch.tensor([0, 1, 1]), 0.5).tolist() == [1, 0, 2]
    assert batched_nms(boxes[:0], scores[:0], torch.zeros(0), 0.5).tolist() == []


def test_paste_masks_fills_the_box():
    masks = torch.ones(2, 4, 4)
    masks[1, :, 2:] = 0  # left half only
    boxes = torch.tensor([[2.0, 1.0, 6.0, 5.0], [0.0, 0.0, 8.0, 6.0]])
    pasted = paste_masks_in_image(masks, boxes, (6, 8))
    assert pasted.shape == (2, 6, 8) and pasted.dtype == torch.bool
    expected = torch.zeros(2, 6, 8, dtype=torch.bool)
    expected[0, 1:5, 2:6] = True
    expected[1, :, :4] = True
    assert torch.equal(pasted, expected)


def test_paste_masks_clips_at_the_border_and_accepts_no_masks():
    ones = torch.ones(1, 4, 4)
    pasted = paste_masks_in_image(ones, torch.tensor([[-4.0, -4, 3, 2]]), (6, 8))
    assert pasted.sum() == 3 * 2 and pasted[0, :2, :3].all()
    assert paste_masks_in_image(ones[:0], torch.zeros(0, 4), (6, 8)).shape == (0, 6, 8)


def test_roi_align_averages_the_cells_of_a_box():
    # the value of a cell is its column, so the value of an aligned bin is the column of its centre
    columns = torch.arange(16.0).expand(1, 1, 16, 16)
    box = torch.tensor([[0.0, 8, 8, 24, 24]])  # cells 2 to 6 at stride 4
    crop = ROIAlign(2, 0.25, 0)(columns, box)
    assert crop.shape == (1, 1, 2, 2)
    assert torch.allclose(crop[0, 0, 0], torch.tensor([2.5, 4.5]))
    shifted = ROIAlign((2, 2), 0.25, 0, aligned=False)(columns, box)
    assert torch.allclose(shifted, crop + 0.5)
