"""AP of actions: equal to the official scorer, to a plain implementation, and to sums by hand."""

import heapq
import json
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from action_scenes import scene, table

from mvit_det.evaluation.actions.metrics import MODES, RECALLS, frame_ap, prepare
from mvit_det.evaluation.actions.ranking import LIMIT, ActionBoxes

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "action_metrics.json"


def evaluate(test, mode="official"):
    options = dict(excluded=test.excluded, mode=mode)
    prepared = prepare(table(test.truth, test.empty), table(test.found), **options)
    return frame_ap(prepared.truth, prepared.found, test.class_ids, mode=mode)


def assert_equal(scores, expected):
    np.testing.assert_allclose([*scores.ap, scores.mean], expected, atol=1e-9, rtol=0)


# ------------------------------------------------------------------- plain implementation


def heap_of(entries, limit):
    """Return the official scorer's heap of a key frame's (score, action, y1, x1, y2, x2)."""
    heap = []
    for entry in entries:
        if limit is None or len(heap) < limit:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    return heap


def sorted_entries(rows, limit):
    """Return the entries in the official scorer's order."""
    entries = [(1.0 if entry[0] is None else entry[0], *entry[1:]) for entry in to_entries(rows)]
    return sorted(heap_of(entries, limit), key=lambda entry: -entry[0])


def to_entries(rows):
    return [(score, action, y1, x1, y2, x2) for _, _, x1, y1, x2, y2, action, score in rows]


def overlap(first, second):
    (top, left, bottom, right), (top2, left2, bottom2, right2) = first, second
    height = max(0, min(bottom, bottom2) - max(top, top2))
    common = height * max(0, min(right, right2) - max(left, left2))
    area = (bottom - top) * (right - left)
    return common / (area + (bottom2 - top2) * (right2 - left2) - common)


def area_below(labels, positives):
    """Return the area below precision (the maximum from a recall on) over recall."""
    area = hits = 0
    precision = [sum(labels[: i + 1]) / (i + 1) for i in range(len(labels))]
    for i, label in enumerate(labels):
        if label:
            area += (hits + 1 - hits) / positives * max(precision[i:])
            hits += 1
    return area


def evaluate_plainly(test, mode):
    """Compute AP of each class and the mean, key frame by key frame."""
    truth, found, listed = defaultdict(list), defaultdict(list), set(test.empty)
    for rows, frames in ((test.truth, truth), (test.found, found)):
        for row in rows:
            if frames is truth:
                listed.add(row[:2])
            if row[:2] not in test.excluded and row[6] in test.class_ids:
                frames[row[:2]].append(row)
    official = mode == "official"
    labels, positives = defaultdict(list), Counter()
    for frame, rows in truth.items():
        truth[frame] = sorted_entries(rows, None) if official else to_entries(rows)
        positives.update(entry[1] for entry in truth[frame])
    for frame, rows in found.items():
        if official and frame not in listed:
            continue
        matched = set()
        for score, action, *box in sorted_entries(rows, LIMIT) if official else to_entries(rows):
            if box[2] <= box[0] or box[3] <= box[1]:
                continue
            targets = [i for i, entry in enumerate(truth.get(frame, ())) if entry[1] == action]
            overlaps = [overlap(box, truth[frame][i][2:]) for i in targets]
            best = targets[int(np.argmax(overlaps))] if targets else None
            hit = bool(targets) and max(overlaps) >= 0.5 and best not in matched
            matched |= {best} if hit else set()
            labels[action].append((score, hit))
    result = []
    for action in test.class_ids:
        score, hit = zip(*labels[action]) if labels[action] else ((), ())
        # NumPy decides which of equal scores comes first
        order = np.argsort(np.array(score, float))[::-1]
        area = area_below(np.array(hit, bool)[order], positives[action]) if hit else 0.0
        result.append(area if positives[action] else np.nan)
    finite = [ap for ap in result if not np.isnan(ap)]
    return [*result, np.mean(finite) if finite else np.nan]


# ---------------------------------------------------------------------------------------- tests


def test_official_scorer(monkeypatch):
    """Compare with golden values; a stable sort gives the same order on every processor."""
    monkeypatch.setattr(np, "argsort", partial(np.argsort, kind="stable"))
    golden = json.loads(GOLDEN.read_text())
    for seed, values in golden.items():
        assert_equal(evaluate(scene(int(seed))), np.array(values, float))
    means = [values[-1] for values in golden.values()]
    assert sum(mean is not None and 0 < mean < 1 for mean in means) > 90


@pytest.mark.parametrize("mode", MODES)
def test_plain_implementation(mode):
    for seed in range(1000, 1060):
        assert_equal(evaluate(scene(seed), mode), evaluate_plainly(scene(seed), mode))


def test_the_scenes_contain_the_hard_cases():
    """Without them the comparisons above would prove little."""
    counts = Counter()
    for seed in range(100):
        test = scene(seed)
        listed = {row[:2] for row in test.truth} | set(test.empty)
        found = Counter(row[:2] for row in test.found)
        ids = set(test.class_ids)
        counts["more than the limit"] += max(found.values(), default=0) > LIMIT
        counts["equal scores"] += len({row[7] for row in test.found}) < len(test.found)
        counts["scores outside 0..1"] += any(not 0 <= row[7] <= 1 for row in test.found)
        counts["empty boxes"] += any(row[2] >= row[4] or row[3] >= row[5] for row in test.found)
        counts["same box twice"] += len({row[:7] for row in test.found}) < len(test.found)
        counts["frames not listed"] += bool(found.keys() - listed)
        counts["frames without detections"] += bool(listed - found.keys())
        counts["key frames without boxes"] += bool(test.empty)
        counts["excluded"] += bool(test.excluded & found.keys())
        counts["other actions"] += any(row[6] not in ids for row in test.found + test.truth)
        of_truth = {row[6] for row in test.truth}
        counts["class without truth"] += bool(ids - of_truth)
        counts["class without detections"] += bool(of_truth & ids - {row[6] for row in test.found})
        by_frame = defaultdict(set)
        for row in test.truth:
            by_frame[row[:2]].add(row[6])
        counts["only other actions"] += any(not ids & actions for actions in by_frame.values())
        counts["no detections"] += not test.found
        counts["no truth"] += not test.truth
        counts["one key frame"] += len(listed | found.keys()) == 1
        overlaps = [
            overlap((y1, x1, y2, x2), (row[3], row[2], row[5], row[4]))
            for row in test.truth
            for _, _, x1, y1, x2, y2, _, _ in [r for r in test.found if r[:2] == row[:2]][:20]
            if x1 < x2 and y1 < y2
        ]
        counts["overlap of half"] += 0.5 in overlaps
    assert min(counts.values()) >= 5 and len(counts) == 17, counts


def rows(frame, box, action, score):
    box = np.array(box, float).reshape(-1, 4)
    return ActionBoxes(np.array(frame, int), box, np.array(action, int), np.array(score, float))


def test_by_hand():
    # three boxes; detections by score: correct, duplicate, correct, IoU 0.4
    truth = rows([0, 0, 1], [[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 10]], [3] * 3, [1] * 3)
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 5], [0, 0, 10, 4]]
    scores = frame_ap(truth, rows([0, 0, 0, 1], boxes, [3] * 4, [0.9, 0.8, 0.7, 0.6]), [3, 5])
    assert scores.ap[0] == pytest.approx((1 + 2 / 3) / 3) and np.isnan(scores.ap[1])
    assert scores.mean == scores.ap[0]
    assert (scores.truth.tolist(), scores.found.tolist(), scores.true_positives.tolist()) == (
        [3, 0],
        [4, 0],
        [2, 0],
    )
    curve = scores.precision[0]
    np.testing.assert_allclose(curve[RECALLS <= 1 / 3], 1)
    np.testing.assert_allclose(curve[(RECALLS > 1 / 3) & (RECALLS <= 2 / 3)], 2 / 3)
    assert (curve[RECALLS > 2 / 3] == 0).all() and np.isnan(scores.precision[1]).all()
    lower = frame_ap(truth, rows([1], boxes[3:], [3], [1]), [3], iou=0.4)
    assert lower.true_positives.tolist() == [1]


def test_classes_in_any_order():
    test = scene(1003)
    ids = test.class_ids
    assert len(ids) > 2
    both = [frame_ap(*sides(test), order) for order in (ids, ids[::-1])]
    np.testing.assert_array_equal(both[0].ap, both[1].ap[::-1])
    np.testing.assert_array_equal(both[0].precision, both[1].precision[::-1])
    assert both[1].class_ids == ids[::-1]


def sides(test, mode="official"):
    prepared = prepare(table(test.truth), table(test.found), mode=mode)
    return prepared.truth, prepared.found


def test_the_best_fifty_of_a_key_frame_count():
    # 50 false positives of higher scores displace the correct one, unless all count
    truth = rows([0], [0, 0, 10, 10], [1], [1])
    boxes = [[50, 50, 60, 60]] * LIMIT + [[0, 0, 10, 10]]
    action = [2] * LIMIT + [1]
    found = rows([0] * (LIMIT + 1), boxes, action, np.linspace(1, 0, LIMIT + 1))
    assert frame_ap(truth, found, [1, 2]).ap[0] == 0
    assert frame_ap(truth, found, [1, 2], mode="pyslowfast").ap[0] == 1
    # boxes of actions that are not evaluated do not use up the limit, boxes without area do
    assert frame_ap(truth, found, [1]).ap[0] == 1
    found.box[0, 2] = 50
    assert frame_ap(truth, found, [1, 2]).found.tolist() == [0, LIMIT - 1]


def test_only_pyslowfast_depends_on_the_order_of_rows_in_a_key_frame():
    truth = rows([0], [0, 0, 10, 10], [1], [1])
    found = rows([0, 0], [[0, 0, 10, 9], [0, 0, 10, 10]], [1, 1], [0.2, 0.9])
    assert frame_ap(truth, found, [1]).ap[0] == 1
    # the first row matches the box, so the higher score is a duplicate
    assert frame_ap(truth, found, [1], mode="pyslowfast").ap[0] == 0.5


@pytest.mark.parametrize("mode", MODES)
def test_row_order_and_dtypes_do_not_matter(mode):
    for seed in range(2000, 2010):
        truth, found = sides(scene(seed), mode)
        # distinct scores that float32 represents exactly
        found = replace(found, score=np.random.default_rng(seed).permutation(len(found)) / 1024)
        if mode == "pyslowfast":
            found = found.rows(np.argsort(-found.score))
        single = [
            ActionBoxes(
                b.frame.astype(np.int32), b.box.astype(np.float32), b.action.astype(np.int32), s
            )
            for b, s in ((truth, truth.score), (found, found.score.astype(np.float32)))
        ]
        double = [replace(boxes, box=boxes.box.astype(float)) for boxes in single]
        expected = frame_ap(*double, [1, 2, 3], mode=mode)
        np.testing.assert_array_equal(frame_ap(*single, [1, 2, 3], mode=mode).ap, expected.ap)
        if mode == "official":
            mixed = double[1].rows(np.random.default_rng(seed + 1).permutation(len(found)))
            result = frame_ap(double[0], mixed, [1, 2, 3])
            np.testing.assert_allclose(result.ap, expected.ap, atol=1e-12, rtol=0)


BOX = (0.1, 0.1, 0.5, 0.5)


def test_key_frames_that_do_not_count():
    truth = [("a", 902.0, *BOX, 1, None), ("a", 903.0, *BOX, 9, None), ("b", 902.0, *BOX, 1, None)]
    places = [("a", 902.0), ("a", 902.0000001), ("a", 903.0), ("a", 904.0), ("b", 902.0)]
    places += [("b", 903.0), ("c", 902.0)]
    found = [(*place, *BOX, 1, 0.5) for place in places]
    tables = table(truth, [("a", 904.0), ("d", 1.0)]), table(found)
    excluded = {("b", 902.0), ("b", 903.0), ("nowhere", 1.0)}
    result = prepare(*tables, excluded=excluded)
    assert result.key_frames == 4  # of a: boxes to find, only other actions, no boxes; and of d
    assert (len(result.truth), len(result.found)) == (2, 4)
    # seconds are equal to six decimals
    assert result.found.frame[0] == result.found.frame[1] == result.truth.frame[0]
    assert result.left_out == {
        "of excluded key frames": 2,
        "at key frames that the ground truth does not list": 1,
    }
    pyslowfast = prepare(*tables, excluded=excluded, mode="pyslowfast")
    assert len(pyslowfast.found) == 5
    assert pyslowfast.left_out == {"of excluded key frames": 2}
    everything = prepare(*tables, mode="pyslowfast")
    assert len(everything.found) == 7 and everything.left_out == {}
    assert everything.truth.score.tolist() == [1, 1, 1]


@pytest.mark.parametrize("mode", MODES)
def test_without_truth_or_detections(mode):
    truth, found = table([("a", 1.0, *BOX, 1, None)]), table([("a", 1.0, *BOX, 1, 0.5)])
    empty = table([])

    def mean(*tables):
        prepared = prepare(*tables, mode=mode)
        return frame_ap(prepared.truth, prepared.found, [1, 2], mode=mode).mean

    assert mean(truth, found) == 1
    assert mean(truth, empty) == 0
    assert np.isnan(mean(empty, found)) and np.isnan(mean(empty, empty))
