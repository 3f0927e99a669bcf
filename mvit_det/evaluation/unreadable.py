"""Says in the metrics that some test images could not be read."""

import logging
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

logger = logging.getLogger(__name__)

# what happens to them, by the form of a batch
_BLANK = "were tested as blank images, so the metrics are too low"
_LEFT_OUT = "were left out of the accuracy"


class UnreadableImages(DatasetEvaluator):
    """Counts the inputs that a mapper has replaced by a blank image and marked "unreadable".

    `evaluate` returns ``{"unreadable": {"images": n}}`` where n > 0, else an empty dict, so that
    `metrics.json` and the caller can tell a sound evaluation from one that lacks images.
    """

    def reset(self) -> None:
        self._total = 0
        self._reasons: dict[str, str] = {}
        self._fate = ""

    def process(self, inputs: list[dict[str, Any]] | dict[str, Any], outputs: Any) -> None:
        """Take a list of inputs, or one dict of stacked inputs in which "unreadable" is a list."""
        if isinstance(inputs, dict):
            files, self._fate = inputs["file_name"], _LEFT_OUT
            reasons = inputs.get("unreadable") or [None] * len(files)
        else:
            files, self._fate = [item.get("file_name") for item in inputs], _BLANK
            reasons = [item.get("unreadable") for item in inputs]
        self._total += len(files)
        self._reasons |= {f: why for f, why in zip(files, reasons) if why is not None}

    def evaluate(self) -> dict[str, dict[str, int]]:
        gathered = comm.gather((self._total, self._reasons, self._fate), dst=0)
        total = sum(count for count, _, _ in gathered)
        reasons = {path: why for _, part, _ in gathered for path, why in part.items()}
        if not reasons:
            return {}
        fate = next(fate for _, part, fate in gathered if part)
        listed = "\n".join(f"  {path}: {why}" for path, why in list(reasons.items())[:20])
        logger.error(
            "%d of %d test images could not be read and %s:\n%s", len(reasons), total, fate, listed
        )
        return {"unreadable": {"images": len(reasons)}}
