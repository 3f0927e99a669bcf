"""Progress of a run: a bar on a terminal, otherwise lines in the log."""

import logging
import sys
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import Any, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

LOG_INTERVAL = 5.0  # seconds
_WITH_TOTAL = "{n_fmt} of {total_fmt}{unit} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
_WITHOUT_TOTAL = "{n_fmt}{unit} [{elapsed}, {rate_noinv_fmt}]"


def progress(items: Iterable[Item], total: int | None, unit: str) -> Iterator[Item]:
    """Yield the items, and show how many are done, the speed, and the remaining time.

    Args:
        items: to iterate over.
        total: number of items; None if unknown.
        unit: what the items are, in the plural.
    """
    state = _WITHOUT_TOTAL if total is None else _WITH_TOTAL
    options: dict[str, Any] = dict(total=total, unit=f" {unit}", leave=False)
    if sys.stderr.isatty():
        # log lines appear above the bar
        with logging_redirect_tqdm([logging.getLogger("mvit_det")]):
            yield from tqdm(items, **options, bar_format="{bar}| " + state)
    else:
        options.update(file=StringIO(), mininterval=LOG_INTERVAL, miniters=1)
        yield from _LogProgress(items, **options, bar_format=state)


class _LogProgress(tqdm):
    """Logs what tqdm would show, every few seconds."""

    monitor_interval = 0  # no thread that refreshes bars

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Log the state; tqdm calls this at the start, at intervals, and with a text at the end."""
        if self.n and msg is None:
            logger.info("%s", self)
