"""Soft-NMS against the pseudo-code of its paper (Bodla et al., Fig. 2), box by box."""

import sys

import numpy as np
import pytest
import torch
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances

from mvit_det.detection import SoftNMS, soft_nms
from mvit_det.errors import UserError


def literal_iou(a, b):
    """Compute the IoU of two boxes, in their type; 0 where the union is 0."""
    zero = type(a[0])(0)
    width = max(min(a[2], b[2]) - max(a[0], b[0]), zero)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), zero)
    area_a = max(a[2] - a[0], zero) * max(a[3] - a[1], zero)
    area_b = max(b[2] - b[0], zero) * max(b[3] - b[1], zero)
    union = area_a + area_b - width * height
    return width * height / union if union > 0 else zero


def literal_soft_nms(
    boxes, scores, classes, *, method, sigma, overlap_threshold, prune_score, top_k
):
    """Run Fig. 2 once per class; then sort the results of all classes by falling score."""
    picks = []
    for c in sorted(set(classes.tolist())):
        remaining = {
            i: scores[i]
            for i in np.flatnonzero(classes == c).tolist()
            if scores[i] >= prune_score and scores[i] > 0
        }
        while remaining:
            best = max(remaining, key=lambda i: (remaining[i], -i))
            picks.append((best, remaining.pop(best)))
            for i in list(remaining):
                overlap = literal_iou(boxes[best], boxes[i])
                if method == "gaussian":
                    remaining[i] *= np.exp(-(overlap * overlap) / scores.dtype.type(sigma))
                elif overlap >= overlap_threshold:
                    remaining[i] *= 1 - overlap
                if remaining[i] < prune_score or remaining[i] <= 0:
                    del remaining[i]
    picks.sort(key=lambda pick: (-pick[1], pick[0]))
    picks = picks[: None if top_k < 0 else top_k]
    return [i for i, _ in picks], [s for _, s in picks]


def random_case(rng, dtype):
    """Draw boxes that often overlap, are equal or have no area, and scores that are often equal."""
    n = int(rng.integers(0, 20))
    if rng.random() < 0.5:  # a coarse grid: ties of every kind
        boxes = rng.integers(0, 5, (n, 4)).astype(float)
        scores = rng.integers(0, 6, n) / 5
    else:
        corners = rng.uniform(0, 30, (n, 2))
        boxes = np.concatenate((corners, corners + rng.uniform(-1, 30, (n, 2))), axis=1)
        scores = rng.uniform(0, 1, n) ** rng.integers(1, 8)
    if rng.random() < 0.2 and n:
        boxes[:] = boxes[0]
    settings = dict(
        method=str(rng.choice(["linear", "gaussian"])),
        sigma=float(rng.choice([0.1, 0.5, 1.0])),
        overlap_threshold=float(rng.choice([0.0, 0.3, 0.5, 1.0])),
        prune_score=float(rng.choice([0.0, 1e-3, 0.2, 0.4])),
        top_k=int(rng.choice([-1, 0, 1, 5, 100])),
    )
    classes = rng.integers(0, rng.integers(1, 5), n)
    return boxes.astype(dtype), scores.astype(dtype), classes, settings


def run(boxes, scores, classes, **settings):
    return soft_nms(*(torch.from_numpy(x) for x in (boxes, scores, classes)), **settings)


def check(boxes, scores, classes, settings):
    indices, decayed = run(boxes, scores, classes, **settings)
    expected = literal_soft_nms(boxes, scores, classes, **settings)
    assert indices.tolist() == expected[0], settings
    assert indices.dtype == torch.int64 and decayed.dtype == torch.from_numpy(scores).dtype
    # bit for bit, but for the last one of the exponential, which may differ between processors
    exact = settings["method"] == "linear"
    np.testing.assert_allclose(decayed.numpy(), expected[1], rtol=0 if exact else 1e-6, atol=0)
    assert not decayed.isnan().any()
    assert (decayed[1:] <= decayed[:-1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_cases_equal_the_literal_loop(dtype):
    rng = np.random.default_rng(0)
    candidates = 0
    for _ in range(500):
        boxes, scores, classes, settings = random_case(rng, dtype)
        check(boxes, scores, classes, settings)
        candidates += len(scores)
    assert candidates > 4000


@pytest.fixture
def few_at_first(monkeypatch):
    """Examine 20 candidates first instead of 1000, so that small cases have more."""
    monkeypatch.setattr(sys.modules[SoftNMS.__module__], "MIN_CANDIDATES", 20)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_more_candidates_than_are_examined_first_equal_the_literal_loop(method, few_at_first):
    rng = np.random.default_rng(1)
    n = 150
    corners = rng.uniform(0, 200, (n, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(40, 60, (n, 2))), axis=1)
    scores = rng.permutation(np.linspace(0.05, 1, n)).round(2)  # with ties
    settings = dict(method=method, sigma=0.5, overlap_threshold=0.5, prune_score=1e-3, top_k=4)
    check(boxes, scores, rng.integers(0, 2, n), settings)


@pytest.mark.parametrize("top_k", [2, 5, 40, -1])
def test_candidates_that_start_with_low_scores_can_win(top_k, few_at_first):
    # 120 boxes of one class that nearly coincide come first, then 30 of another that do not touch
    rng = np.random.default_rng(2)
    heap = np.array([0, 0, 50, 50]) + rng.uniform(0, 8, (120, 4))
    grid = np.stack(np.divmod(np.arange(30), 5), axis=1) * 10.0
    boxes = np.concatenate((heap, np.concatenate((grid, grid + 8), axis=1)))
    scores = np.concatenate((rng.uniform(0.8, 0.9, 120), rng.uniform(0.6, 0.7, 30)))
    classes = np.arange(150) >= 120
    order = rng.permutation(150)
    settings = dict(method="linear", sigma=0.5, overlap_threshold=0.5, prune_score=1e-6)
    check(boxes[order], scores[order], classes[order].astype(int), {**settings, "top_k": top_k})


def test_a_case_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4], [50, 50, 60, 60]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.4])
    classes = torch.zeros(4, dtype=torch.int64)
    indices, decayed = soft_nms(boxes, scores, classes, overlap_threshold=0.5)
    # 0 halves 1 (IoU 0.5) and leaves 2 (IoU 0.4), which takes 0.8 of the rest of 1
    assert indices.tolist() == [0, 2, 3, 1]
    torch.testing.assert_close(decayed, torch.tensor([0.9, 0.7, 0.4, 0.8 * 0.5 * 0.2]))
    indices, decayed = soft_nms(boxes[:2], scores[:2], classes[:2], method="gaussian", sigma=0.5)
    torch.testing.assert_close(decayed, torch.tensor([0.9, 0.8 * np.exp(-0.5).item()]))


def test_boxes_and_scores_that_are_not_finite_do_no_harm():
    inf, nan = float("inf"), float("nan")
    boxes = torch.tensor([[0, 0, inf, inf], [0, 0, 1e30, 1e30], [0, 0, nan, 1], [0.0, 0, 9, 9]])
    boxes = boxes.repeat(2, 1)
    scores = torch.tensor([0.9, 0.8, 0.7, nan, 0.6, inf, -inf, 0.5])
    for method in ("linear", "gaussian"):
        indices, decayed = soft_nms(boxes, scores, torch.zeros(8).long(), method=method)
        assert indices.tolist() == [0, 1, 2, 4, 7]
        assert decayed.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])


def test_half_precision_and_inputs_that_need_gradients():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8]]).half().requires_grad_()
    scores = torch.tensor([0.5, 0.75]).half().requires_grad_()
    indices, decayed = soft_nms(boxes, scores, torch.zeros(2).long())
    assert indices.tolist() == [1, 0] and decayed.dtype == torch.half
    assert decayed[1].item() == pytest.approx(0.1, abs=1e-4) and not decayed.requires_grad
    assert scores.tolist() == [0.5, 0.75]  # the input is not written to


def test_limits_of_the_settings_are_sorting_and_plain_nms():
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 100, (300, 2))
    boxes = torch.from_numpy(np.concatenate((corners, corners + 30), axis=1))
    scores = torch.from_numpy(rng.permutation(300) / 300 + 0.01)
    classes = torch.from_numpy(rng.integers(0, 3, 300))
    indices, decayed = soft_nms(boxes, scores, classes, overlap_threshold=1.0, prune_score=0.0)
    assert torch.equal(indices, scores.argsort(descending=True))
    assert torch.equal(decayed, scores[indices])
    indices, _ = soft_nms(boxes, scores, classes, method="gaussian", sigma=1e-12)
    assert torch.equal(indices, batched_nms(boxes.float(), scores.float(), classes, 1e-5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_selects_the_same():
    rng = np.random.default_rng(3)
    for _ in range(20):
        boxes, scores, classes, settings = random_case(rng, np.float32)
        here = [torch.from_numpy(x) for x in (boxes, scores, classes)]
        indices, decayed = soft_nms(*(x.cuda() for x in here), **settings)
        assert indices.is_cuda and decayed.is_cuda
        expected = soft_nms(*here, **settings)
        assert torch.equal(indices.cpu(), expected[0]) and torch.equal(decayed.cpu(), expected[1])


def test_instances_keep_their_fields():
    candidates = Instances(
        (20, 20),
        pred_boxes=Boxes(torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 8]])),
        scores=torch.tensor([0.2, 0.9, 0.8]),
        pred_classes=torch.tensor([1, 1, 1]),
        row=torch.tensor([10, 11, 12]),
    )
    chosen = SoftNMS()(candidates)
    assert chosen.row.tolist() == [11, 12] and tuple(chosen.image_size) == (20, 20)
    torch.testing.assert_close(chosen.scores, torch.tensor([0.9, 0.8 / 9]))
    assert SoftNMS()(candidates, top_k=1).row.tolist() == [11]
    assert SoftNMS("gaussian", sigma=10.0)(candidates).row.tolist() == [11, 12, 10]
    assert SoftNMS(prune_score=0.1)(candidates).row.tolist() == [11]
    assert SoftNMS(overlap_threshold=0.95)(candidates).row.tolist() == [11, 12]
    assert len(SoftNMS()(candidates[:0])) == 0
    assert candidates.scores.tolist() == pytest.approx([0.2, 0.9, 0.8])


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(method="hard"), "method='hard' of Soft-NMS must be one of linear, gaussian"),
        (dict(sigma=0), "sigma=0 of Soft-NMS must be a number above 0"),
        (dict(overlap_threshold=1.5), "overlap_threshold=1.5 of Soft-NMS must be from 0 to 1"),
        (dict(prune_score=-1), "prune_score=-1"),
        (dict(score_threshold=float("nan")), "score_threshold=nan"),
    ],
)
def test_bad_settings_end_in_one_sentence(settings, words):
    with pytest.raises(UserError, match=words):
        SoftNMS(**settings)
