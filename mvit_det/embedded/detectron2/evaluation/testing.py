"""Results as a flat dict, and as log lines to copy into a spreadsheet."""

import logging
from collections.abc import Mapping
from typing import Any


def print_csv_format(results: Mapping[str, Mapping[str, float]]) -> None:
    """Log each task's metrics, without those of classes, as a line of names and one of values."""
    logger = logging.getLogger(__name__)
    for task, metrics in results.items():
        overall = {name: value for name, value in metrics.items() if "-" not in name}
        numbers = ",".join(f"{value:.4f}" for value in overall.values())
        for line in (f"Task: {task}", ",".join(overall), numbers):
            logger.info(f"copypaste: {line}")


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Join nested keys by slashes: ``{"bbox": {"AP": 1}}`` becomes ``{"bbox/AP": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}/{k}": v for k, v in flatten_results_dict(value).items()})
        else:
            flat[key] = value
    return flat
