"""Report test images or videos that could not be read as a metric."""

import logging
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

logger = logging.getLogger(__name__)

# what happens to these inputs, by the form of a batch
_BLANK = "were tested as blank images, so the metrics are too low"
_LEFT_OUT = "were left out of the accuracy"
_MISSED = "have no detections, so that the people in them count as missed"


class UnreadableImages(DatasetEvaluator):
    """Counts the inputs that a mapper has replaced by a blank one and marked "unreadable".

    `evaluate` returns ``{"unreadable": {"images": n}}`` if n > 0, else an empty dict, so that
    `metrics.json` and the caller can distinguish a complete evaluation from one that lacks images.
    For videos, whose inputs have "clip" or "second", it is ``{"videos": n, "clips": m}``: n of them
    lack m clips in all.
    """

    # A resumed test may show it the remaining inputs only: unreadable ones are tried again.
    needs_all = False

    def reset(self) -> None:
        """Forget all inputs."""
        self._total = 0
        self._reasons: dict[str, str] = {}
        self._clips: set[tuple[str, float]] = set()
        self._fate = ""

    def process(self, inputs: list[dict[str, Any]] | dict[str, Any], outputs: Any) -> None:
        """Add a list of inputs, or one dict of stacked inputs in which "unreadable" is a list."""
        place = next((name for name in ("clip", "second") if name in inputs), None)
        if isinstance(inputs, dict):
            files, self._fate = inputs["file_name"], _MISSED if place == "second" else _LEFT_OUT
            reasons = inputs.get("unreadable") or [None] * len(files)
        else:
            files, self._fate = [item.get("file_name") for item in inputs], _BLANK
            reasons = [item.get("unreadable") for item in inputs]
        self._total += len(files)
        for index, (file, reason) in enumerate(zip(files, reasons)):
            if reason is not None:
                self._reasons[file] = reason
                if place is not None:
                    self._clips.add((file, float(inputs[place][index])))

    def evaluate(self) -> dict[str, dict[str, int]]:
        """Log up to 20 of the files, and return the counts; see the class."""
        gathered = comm.gather((self._total, self._reasons, self._clips, self._fate), dst=0)
        total = sum(part[0] for part in gathered)
        reasons = {path: why for part in gathered for path, why in part[1].items()}
        if not reasons:
            return {}
        fate = next(part[3] for part in gathered if part[1])
        listed = "\n".join(f"  {path}: {why}" for path, why in list(reasons.items())[:20])
        clips = set().union(*(part[2] for part in gathered))
        what, counts = f"{len(reasons)} of {total} test images", {"images": len(reasons)}
        if clips:
            what = f"{len(clips)} clips of {len(reasons)} test videos"
            counts = {"videos": len(reasons), "clips": len(clips)}
        logger.error("%s could not be read and %s:\n%s", what, fate, listed)
        return {"unreadable": counts}
