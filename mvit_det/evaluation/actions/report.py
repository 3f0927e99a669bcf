"""Report action detection: metrics, tables in the log, and pictures."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mvit_det.ava_files import BoxTable
from mvit_det.evaluation.actions.files import ActionTruth
from mvit_det.evaluation.actions.metrics import ActionScores, frame_ap, prepare
from mvit_det.evaluation.actions.plots import draw_action_curves, draw_class_ap
from mvit_det.evaluation.tables import class_table, percent_table
from mvit_det.evaluation.writing import log_write_errors

logger = logging.getLogger(__name__)


def report_actions(
    truth: ActionTruth,
    detections: BoxTable,
    names: Mapping[int, str],
    folder: Path | None,
    mode: str = "official",
) -> dict[str, dict[str, float]]:
    """Compute the metrics of actions, log the tables, and draw into ``folder``/pictures.

    Args:
        truth: annotated boxes.
        detections: detections.
        names: of the evaluated actions, by id.
        folder: output folder; None to draw nothing.
        mode: "official" or "pyslowfast", see `frame_ap`.

    Returns:
        {"actions": {"mAP50", "AP-<name>" of each action}} in percent; NaN without ground truth.
    """
    prepared = prepare(truth.table, detections, excluded=truth.excluded, mode=mode)
    ids = sorted(names)
    scores = frame_ap(prepared.truth, prepared.found, ids, mode=mode)
    action_names = [names[k] for k in ids]
    left_out = {
        **prepared.left_out,
        "of actions that are not evaluated": int((~np.isin(detections.action, ids)).sum()),
        "boxes without area": _count_without_area(detections.box),
    }
    for reason, count in left_out.items():
        if count:
            logger.info("%d of %d detections are left out: %s.", count, len(detections), reason)
    unmatchable = _count_without_area(prepared.truth.box[np.isin(prepared.truth.action, ids)])
    if unmatchable:
        logger.warning(
            "%d of %d boxes of the ground truth have no area: no detection can match them, and "
            "they count as missed.",
            *(unmatchable, scores.truth.sum()),
        )
    if not len(detections):
        logger.warning("There are no detections at all.")
    _log_action_tables(scores, action_names, prepared.key_frames, mode)
    if folder is not None:
        folder = folder / "pictures"
        with log_write_errors("AP by action and curves", folder):
            draw_class_ap(folder / "action_ap.png", scores, action_names)
            draw_action_curves(folder / "precision_recall.png", scores, action_names)
    by_class = {f"AP-{name}": 100 * float(ap) for name, ap in zip(action_names, scores.ap)}
    return {"actions": {"mAP50": 100 * float(scores.mean), **by_class}}


def _count_without_area(box: np.ndarray) -> int:
    """Count the boxes (N, 4) without area."""
    return int(np.count_nonzero((box[:, 2:] <= box[:, :2]).any(axis=1)))


def _log_action_tables(scores: ActionScores, names: list[str], key_frames: int, mode: str) -> None:
    """Log a table of the totals, and one by class."""
    annotated = int((scores.truth > 0).sum())
    head = ["percent", "key frames", "boxes", "detections", "mAP50"]
    counts = key_frames, int(scores.truth.sum()), int(scores.found.sum())
    table = percent_table(head, [["actions", *counts, 100 * scores.mean]])
    scope = f"mean over {annotated} classes"
    if annotated < len(names):
        missing = len(names) - annotated
        scope += f"; {missing} of {len(names)} have no ground truth and do not count"
    logger.info("Frame mAP at IoU 0.5 (%s mode; %s):\n%s", mode, scope, table)
    rows = list(zip(scores.class_ids, names, scores.truth, scores.found, 100 * scores.ap))
    table = class_table(["id", "action", "boxes", "detections", "AP"], rows)
    logger.info("AP by action, in percent (nan: no ground truth):\n%s", table)
