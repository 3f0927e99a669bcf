"""Norms, convolutions, RoIAlign, NMS and mask pasting; on either host."""

import pytest
import torch
from torch import nn

from detectron2.layers import (
    Conv2d,
    ConvTranspose2d,
    FrozenBatchNorm2d,
    NaiveSyncBatchNorm,
    ROIAlign,
    ShapeSpec,
    batched_nms,
    cat,
    cross_entropy,
    get_norm,
    nonzero_tuple,
    paste_masks_in_image,
)


def test_shape_spec():
    spec = ShapeSpec(channels=3, stride=4)
    assert spec == ShapeSpec(3, None, None, 4) and spec.height is None
    assert repr(spec) == "ShapeSpec(channels=3, height=None, width=None, stride=4)"


@pytest.mark.parametrize(
    "name, kind",
    [
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("nnSyncBN", nn.SyncBatchNorm),
        ("FrozenBN", FrozenBatchNorm2d),
        ("GN", nn.GroupNorm),
        ("naiveSyncBN", NaiveSyncBatchNorm),
        ("naiveSyncBN_N", NaiveSyncBatchNorm),
        (nn.InstanceNorm2d, nn.InstanceNorm2d),
    ],
)
def test_get_norm(name, kind):
    assert type(get_norm(name, 64)) is kind


def test_get_norm_of_nothing_and_of_unknown():
    assert get_norm("", 4) is None and get_norm(None, 4) is None
    with pytest.raises(KeyError):
        get_norm("BatchNorm", 4)


def test_frozen_batch_norm_starts_as_identity_and_does_not_learn():
    norm = FrozenBatchNorm2d(2)
    x = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(norm(x), x)
    assert not list(norm.parameters())
    norm.running_mean.fill_(1.0)
    norm.weight.fill_(2.0)
    torch.testing.assert_close(norm.train()(x), 2 * (x - 1))


def test_layer_norm_is_over_channels():
    norm = get_norm("LN", 3)
    norm.weight.data = torch.tensor([1.0, 2.0, 3.0])
    norm.bias.data = torch.tensor([0.0, 0.0, 1.0])
    x = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    root = 1.5**0.5  # mean 2, variance 2 / 3
    expected = torch.tensor([-root, 0.0, 3 * root + 1]).view(1, 3, 1, 1).expand_as(x)
    torch.testing.assert_close(norm(x), expected)


def test_naive_sync_bn_alone_is_batch_norm():
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


@pytest.mark.parametrize("layer", [Conv2d(2, 3, 3, padding=1), ConvTranspose2d(2, 3, 2, stride=2)])
def test_convolutions_of_nothing_pass_gradients(layer):
    out = layer(torch.zeros(0, 2, 4, 4))
    assert out.shape[:2] == (0, 3)
    out.sum().backward()
    assert layer.weight.grad.abs().sum() == 0


def test_cross_entropy_of_nothing_is_zero_with_gradient():
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.long))
    assert loss == 0
    loss.backward()
    assert logits.grad.shape == (0, 5)
    some = cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
    torch.testing.assert_close(some, torch.tensor(4.0).log())


def test_small_wrappers():
    x = torch.ones(2, 3)
    assert cat([x]) is x and cat([x, x], dim=1).shape == (2, 6)
    rows, columns = nonzero_tuple(torch.tensor([[0, 1], [1, 0]]))
    assert rows.tolist() == [0, 1] and columns.tolist() == [1, 0]
    assert nonzero_tuple(torch.tensor(5))[0].tolist() == [0]


def test_roi_align_of_a_ramp_gives_its_centres():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)  # value = column index
    pool = ROIAlign((2, 2), spatial_scale=0.5, sampling_ratio=0, aligned=True)
    out = pool(ramp, torch.tensor([[0.0, 4, 4, 12, 12]]))
    # columns 2..6 of the map, in halves: means over 2..4 and 4..6, minus half a cell
    torch.testing.assert_close(out[0, 0], torch.tensor([[2.5, 4.5], [2.5, 4.5]]))
    old = ROIAlign((2, 2), spatial_scale=0.5, sampling_ratio=0, aligned=False)
    shifted = old(ramp, torch.tensor([[0.0, 4, 4, 12, 12]]))
    torch.testing.assert_close(shifted[0, 0], torch.tensor([[3.0, 5.0], [3.0, 5.0]]))
    assert pool(ramp, torch.zeros(0, 5)).shape == (0, 1, 2, 2)
    assert pool(ramp.half(), torch.zeros(1, 5)).dtype == torch.float16


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


def test_paste_masks_cuts_at_the_border_and_takes_soft_and_empty_ones():
    ones = torch.ones(1, 4, 4)
    pasted = paste_masks_in_image(ones, torch.tensor([[-4.0, -4, 3, 2]]), (6, 8))
    assert pasted.sum() == 3 * 2 and pasted[0, :2, :3].all()
    soft = paste_masks_in_image(ones * 0.4, torch.tensor([[0.0, 0, 8, 6]]), (6, 8), threshold=-1)
    assert soft.dtype == torch.uint8 and soft[0, 3, 4] == 102
    assert paste_masks_in_image(ones[:0], torch.zeros(0, 4), (6, 8)).shape == (0, 6, 8)
    nan = torch.full((1, 4), float("nan"))
    assert not paste_masks_in_image(torch.ones(2, 4, 4), nan.expand(2, 4), (6, 8)).any()
