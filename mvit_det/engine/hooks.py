"""Hooks that Detectron2 does not have."""

import os
from collections.abc import Sequence

from detectron2.engine import HookBase

from mvit_det.engine.curves import draw_curves


class DrawCurves(HookBase):
    """Draw the loss and AP curves from metrics.json, every ``period`` iterations and at the end."""

    def __init__(self, output_dir: str, period: int):
        self.output_dir = output_dir
        self.period = period

    def after_step(self) -> None:
        """Draw when due; register this hook behind the writer of metrics.json."""
        if self.period > 0 and (self.trainer.iter + 1) % self.period == 0:
            self._draw()

    def after_train(self) -> None:
        """Draw the whole run."""
        self._draw()

    def _draw(self) -> Sequence[os.PathLike]:
        metrics = os.path.join(self.output_dir, "metrics.json")
        return draw_curves(metrics, self.output_dir) if os.path.isfile(metrics) else []
