"""Says in the metrics that some test images could not be read."""

import logging
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

logger = logging.getLogger(__name__)


class UnreadableImages(DatasetEvaluator):
    """Counts the inputs that a mapper has replaced by a blank image and marked "bad_image".

    `evaluate` returns ``{"unreadable": {"images": n}}`` where n > 0, else an empty dict, so that
    `metrics.json` and the caller can tell a sound evaluation from one that is too low.
    """

    def reset(self) -> None:
        self._total = 0
        self._reasons: dict[str, str] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        self._total += len(inputs)
        for item in inputs:
            if "bad_image" in item:
                self._reasons[item["file_name"]] = item["bad_image"]

    def evaluate(self) -> dict[str, dict[str, int]]:
        gathered = comm.gather((self._total, self._reasons), dst=0)
        total = sum(count for count, _ in gathered)
        reasons = {path: why for _, part in gathered for path, why in part.items()}
        if not reasons:
            return {}
        listed = "\n".join(f"  {path}: {why}" for path, why in list(reasons.items())[:20])
        logger.error(
            "%d of %d test images could not be read and were tested as blank images, so the metrics "
            "are too low:\n%s",
            len(reasons),
            total,
            listed,
        )
        return {"unreadable": {"images": len(reasons)}}
