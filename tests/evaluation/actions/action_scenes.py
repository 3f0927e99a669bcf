"""Random labelled boxes with the hard cases of AVA's metric, the same on every machine."""

from dataclasses import dataclass, field

import numpy as np

from mvit_det.ava_files import BoxTable

# video, second, x1, y1, x2, y2, action, person of the truth or score of a detection
Row = tuple


@dataclass
class Scene:
    """One random test: rows as in the files, None for a column that the file lacks."""

    class_ids: list[int]
    truth: list[Row] = field(default_factory=list)
    empty: list[tuple[str, float]] = field(default_factory=list)
    found: list[Row] = field(default_factory=list)
    excluded: set[tuple[str, float]] = field(default_factory=set)


def table(rows: list[Row], empty: list[tuple[str, float]] = ()) -> BoxTable:
    """Convert rows to the table that reading their file gives."""
    videos = sorted({row[0] for row in rows})
    score = [np.nan if row[7] is None else row[7] for row in rows]
    return BoxTable(
        videos,
        np.array([videos.index(row[0]) for row in rows], np.int32),
        np.array([row[1] for row in rows], float),
        np.array([row[2:6] for row in rows], float).reshape(-1, 4),
        np.array([row[6] for row in rows], np.int64),
        np.array(score, float),
        np.arange(1, len(rows) + 1),
        list(empty),
    )


def draw_boxes(rng: np.random.Generator, count: int, grid: int | None) -> np.ndarray:
    """Draw boxes (count, 4) as x1, y1, x2, y2 in 0..1, on a coarse grid (equal overlaps) or not."""
    corner = rng.uniform(0, 0.7, (count, 2))
    box = np.hstack([corner, corner + rng.uniform(0.05, 0.3, (count, 2))])
    if grid:
        box = (box * grid).round() / grid
    # some without area, and some with x1 > x2
    turned = rng.random(count) < 0.05
    box[turned] = box[turned][:, [2, 1, 0, 3]]
    return box


def draw_scores(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw distinct scores, rounded ones (many equal), zeros, constants, or some outside 0..1."""
    kind = rng.integers(7)
    score = rng.random(count) ** 2
    if kind in (1, 2, 3):
        score = score.round(kind)
    elif kind == 4:
        score = np.where(rng.random(count) < 0.6, 0, score)
    elif kind == 5:
        score[:] = 0.25
    elif kind == 6:
        score = (3 * score - 1).round(2)
    return score


def scene(seed: int) -> Scene:
    """Draw a scene, always the same for a seed."""
    rng = np.random.default_rng(seed)
    actions = int(rng.integers(1, 9))
    class_ids = np.flatnonzero(rng.random(actions) < 0.7) + 1
    result = Scene(class_ids.tolist() or [actions])
    grid = [None, 4, 10, 16][rng.integers(4)]
    most = [3, 12, 40][rng.integers(3)]
    persons = rng.random() < 0.5
    frames = [(f"v{i % 3}", 902 + i // 3) for i in range(rng.choice([1, 4, 15]))]
    for frame in frames:
        # the boxes of people, which the truth and detections share
        people = draw_boxes(rng, int(rng.integers(0, 5)), grid)
        people = people[(people[:, :2] <= people[:, 2:]).all(axis=1)]
        between = np.empty((0, 4))
        if rng.random() < 0.3:
            # two people side by side, and a box of equal IoU with both
            between = rng.permutation([[0.25, 0.25, 0.5, 0.5], [0.5, 0.25, 0.75, 0.5]])
            shift = rng.choice([[1, 0, 1, 0], [0, 1, 0, 1]]) / 32
            people = np.vstack([people, between[:1] - shift, between[:1] + shift])
            people = rng.permutation(people)
        kind = rng.random()
        if kind < 0.1:
            result.empty.append(frame)
        elif kind < 0.9:
            for number, box in enumerate(people):
                for action in rng.choice(actions, rng.integers(1, 4)) + 1:
                    person = number // 2 if persons else None
                    result.truth.append((*frame, *box.tolist(), int(action), person))
        if rng.random() < 0.15:
            continue
        moved = people + rng.normal(0, 0.03, people.shape) * (rng.random((len(people), 1)) < 0.5)
        if grid:
            moved = (moved * 2 * grid).round() / (2 * grid)
        sources = np.vstack([people, moved, between, draw_boxes(rng, 2, grid)])
        count = int(rng.integers(0, most + 1)) * (1 + int(rng.random() < 0.3) * 3)
        boxes = sources[np.sort(rng.integers(0, len(sources), count))]
        labels = rng.integers(1, actions + 1, count).tolist()
        for box, action, score in zip(boxes.tolist(), labels, draw_scores(rng, count).tolist()):
            result.found.append((*frame, *box, action, score))
    if rng.random() < 0.3:
        result.found = [result.found[i] for i in rng.permutation(len(result.found))]
        result.truth = [result.truth[i] for i in rng.permutation(len(result.truth))]
    if rng.random() < 0.3:
        result.excluded = {frame for frame in frames if rng.random() < 0.2} | {("other", 1.0)}
    return result
