"""The action detector: losses and results for any number of boxes, in clips of any size."""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from detectron2.engine import launch
from detectron2.utils import comm
from small_action import BOXES, SMALL, detector, random_clips
from torch.nn.parallel import DistributedDataParallel


def random_labels(boxes) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(2, (len(rows), 7), generator=generator).float() for rows in boxes]


def all_actions(model, inputs, boxes):
    return torch.cat(model({"inputs": inputs, "boxes": boxes}))


def test_loss_is_binary_cross_entropy_over_all_boxes_and_actions():
    model, inputs, labels = detector().train(), random_clips(4, 64, 64), random_labels(BOXES)
    labels[0][1] = 0  # a proposal without a label stays
    p = model.logits(inputs, BOXES).sigmoid()
    y = torch.cat(labels)
    by_hand = -(y * p.log() + (1 - y) * (1 - p).log()).sum() / (3 * 7)
    losses = model({"inputs": inputs, "boxes": BOXES, "labels": labels})
    assert set(losses) == {"loss_action"}
    torch.testing.assert_close(losses["loss_action"], by_hand)
    integers = {"inputs": inputs, "boxes": BOXES, "labels": [rows.long() for rows in labels]}
    torch.testing.assert_close(model(integers)["loss_action"], by_hand)


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("boxes", [BOXES, [torch.zeros(0, 4)] * 3])
def test_loss_reaches_every_parameter(class_token, boxes):
    model = detector(backbone=dict(SMALL, class_token=class_token)).train()
    batch = {"inputs": random_clips(4, 64, 64), "boxes": boxes, "labels": random_labels(boxes)}
    loss = model(batch)["loss_action"]
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert not [name for name, gradient in gradients.items() if gradient is None]
    if boxes is BOXES:
        unmoved = [name for name, gradient in gradients.items() if not gradient.any()]
        assert not unmoved
    else:
        assert loss.item() == 0 and not any(gradient.any() for gradient in gradients.values())


@torch.no_grad()
def test_evaluation_gives_probabilities_per_clip():
    model = detector(head_dropout=0.5).eval()
    inputs = random_clips(4, 64, 64)
    scores = model({"inputs": inputs, "boxes": BOXES})
    assert [rows.shape for rows in scores] == [(2, 7), (0, 7), (1, 7)]
    torch.testing.assert_close(torch.cat(scores), model.logits(inputs, BOXES).sigmoid())
    # neither clips nor boxes affect each other
    alone = all_actions(model, inputs[2:], BOXES[2:])
    torch.testing.assert_close(alone, scores[2])
    first = all_actions(model, inputs[:1], [BOXES[0][1:]])
    torch.testing.assert_close(first, scores[0][1:])
    empty = model({"inputs": inputs, "boxes": [torch.zeros(0, 4)] * 3})
    assert [rows.shape for rows in empty] == [(0, 7)] * 3
    assert not torch.equal(model.train().logits(inputs, BOXES), model.logits(inputs, BOXES))


@torch.no_grad()
@pytest.mark.parametrize("as_list", [list, tuple])
def test_clips_of_several_sizes_keep_their_order(as_list):
    model = detector().eval()
    clips = [random_clips(*size, count=1)[0] for size in ((4, 64, 64), (4, 50, 91), (4, 64, 64))]
    boxes = [BOXES[2], BOXES[0], torch.cat([BOXES[0], BOXES[2]])]
    sizes, encode = [], model.backbone.encode
    model.backbone.encode = lambda x: (sizes.append(tuple(x.shape)), encode(x))[1]
    scores = model({"inputs": as_list(clips), "boxes": boxes})
    assert sizes == [(2, 3, 4, 64, 64), (1, 3, 4, 50, 91)]
    for clip, clip_boxes, rows in zip(clips, boxes, scores):
        torch.testing.assert_close(rows, all_actions(model, clip[None], [clip_boxes]))
    together = model({"inputs": torch.stack(clips[::2]), "boxes": boxes[::2]})
    torch.testing.assert_close(together, scores[::2])


def test_clips_of_several_sizes_train():
    model = detector().train()
    clips = [random_clips(*size, count=1)[0] for size in ((4, 64, 64), (4, 50, 91), (4, 64, 64))]
    labels = random_labels(BOXES)
    loss = model({"inputs": clips, "boxes": BOXES, "labels": labels})["loss_action"]
    rows = torch.cat([model.logits(x[None], [b]) for x, b in zip(clips, BOXES)])
    expected = F.binary_cross_entropy_with_logits(rows, torch.cat(labels))
    torch.testing.assert_close(loss, expected)


def test_each_clip_needs_a_list_of_boxes():
    with pytest.raises(ValueError, match="3 clips, but boxes for 2"):
        detector().logits(random_clips(4, 64, 64), BOXES[:2])


def test_mixed_and_low_precision():
    model, labels = detector().train(), random_labels(BOXES)
    batch = {"inputs": random_clips(4, 64, 64), "boxes": BOXES, "labels": labels}
    exact = model(batch)["loss_action"]
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(batch)["loss_action"]
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=0.02)
    model.bfloat16().eval()
    scores = all_actions(model, batch["inputs"].bfloat16(), BOXES)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(
        scores, all_actions(detector().eval(), batch["inputs"], BOXES), atol=0.02, rtol=0
    )


def test_pyslowfast_init():
    model = detector(pyslowfast_init=True)
    assert (model.head.projection.bias == 0.02).all() and (model.norm.bias == 0.02).all()
    assert not detector().head.projection.bias.any()


def _one_of_two(folder):
    model = DistributedDataParallel(detector().train())
    rank = comm.get_rank()
    # boxes in one process only; then in neither, which needs a complete first step
    for step, boxes in enumerate([[BOXES[0]] if rank == 0 else [BOXES[1]], [BOXES[1]]]):
        model.zero_grad(set_to_none=True)
        inputs = random_clips(4, 64, 64, count=1)
        model({"inputs": inputs, "boxes": boxes, "labels": random_labels(boxes)})[
            "loss_action"
        ].backward()
        gradients = {name: p.grad for name, p in model.module.named_parameters()}
        torch.save(gradients, Path(folder, f"{rank}_{step}.pth"))
    comm.synchronize()
    os._exit(0)  # at the interpreter's exit gloo's threads may abort the process


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="needs two GPUs, or none")
def test_a_process_without_boxes_does_not_block_the_others(tmp_path):
    launch(_one_of_two, 2, dist_url="auto", args=(str(tmp_path),))
    model, boxes = detector().train(), BOXES[:1]
    inputs = random_clips(4, 64, 64, count=1)
    loss = model({"inputs": inputs, "boxes": boxes, "labels": random_labels(boxes)})["loss_action"]
    loss.backward()
    for rank in (0, 1):
        first, second = (torch.load(tmp_path / f"{rank}_{step}.pth") for step in (0, 1))
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(first[name], parameter.grad / 2)
            assert not second[name].any()
