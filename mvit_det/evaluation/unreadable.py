"""Report test images or videos that could not be read as a metric."""

import logging
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

logger = logging.getLogger(__name__)

# effect on the metrics, by the form of a batch
_BLANK = "were tested as blank images, so the metrics are too low"
_LEFT_OUT = "were left out of the accuracy"
_MISSED = "have no detections, so the people in them count as missed"


class UnreadableImages(DatasetEvaluator):
    """Counts the inputs that a mapper has replaced by a blank one and marked as "unreadable".

    `evaluate` returns ``{"unreadable": {"images": n}}`` if n > 0, else an empty dict, so that
    `metrics.json` and the caller can distinguish a complete evaluation from one that lacks images.
    For videos, whose inputs have "clip" or "second", it is ``{"videos": n, "clips": m}``: n videos
    lack m clips in total.
    """

    # In a resumed test the remaining inputs are enough: unreadable ones are tried again.
    needs_all = False

    def reset(self) -> None:
        """Forget all inputs."""
        self._total = 0
        self._reasons: dict[str, str] = {}
        self._clips: set[tuple[str, float]] = set()
        self._effect = ""

    def process(self, inputs: list[dict[str, Any]] | dict[str, Any], outputs: Any) -> None:
        """Count the unreadable inputs of a batch of B.

        Args:
            inputs: a list of B dicts with "file_name" and, if it could not be read, "unreadable"
                (the reason); or one dict of lists and tensors of length B, where "unreadable" has
                None for each readable input.
            outputs: ignored.
        """
        times = None  # of video inputs: index of the clip, or second of the key frame
        if isinstance(inputs, dict):
            files, times = inputs["file_name"], inputs.get("clip", inputs.get("second"))
            self._effect = _MISSED if "second" in inputs and "clip" not in inputs else _LEFT_OUT
            reasons = inputs.get("unreadable") or [None] * len(files)
        else:
            files, self._effect = [item.get("file_name") for item in inputs], _BLANK
            reasons = [item.get("unreadable") for item in inputs]
        self._total += len(files)
        for index, (file, reason) in enumerate(zip(files, reasons)):
            if reason is not None:
                self._reasons[file] = reason
                if times is not None:
                    self._clips.add((file, float(times[index])))

    def evaluate(self) -> dict[str, dict[str, int]]:
        """Log up to 20 of the files with reasons, and return the counts described at the class."""
        gathered = comm.gather((self._total, self._reasons, self._clips, self._effect), dst=0)
        total = sum(part[0] for part in gathered)
        reasons = {path: reason for part in gathered for path, reason in part[1].items()}
        if not reasons:
            return {}
        effect = next(part[3] for part in gathered if part[1])
        listed = "\n".join(f"  {path}: {reason}" for path, reason in list(reasons.items())[:20])
        clips = set().union(*(part[2] for part in gathered))
        what, counts = f"{len(reasons)} of {total} test images", {"images": len(reasons)}
        if clips:
            what = f"{len(clips)} clips of {len(reasons)} test videos"
            counts = {"videos": len(reasons), "clips": len(clips)}
        logger.error("%s could not be read and %s:\n%s", what, effect, listed)
        return {"unreadable": counts}
