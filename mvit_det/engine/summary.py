"""Log the last lines of a run: main metrics, output files and next commands."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

logger = logging.getLogger(__name__)

_FILES = {
    "config.yaml": "the config as it ran",
    "model_final.pth": "the last weights",
    "averaged_final.pth": "the moving average of the weights",
    "model_best.pth": "the weights that evaluated best",
    "metrics.json": "all numbers, one line per logging step",
    "losses.png": "loss curves",
}


class Task(Protocol):
    """What the summary of a run needs from its task."""

    headlines: Sequence[str]  # names of metrics, the main one first
    leaves: Mapping[str, str]  # files that evaluations write -> what they hold
    custom_data_command: tuple[str, str] | None  # config to train on custom data, and its flags
    predict_inputs: str  # inputs of the predict command; "" if the task has none


def summarize(cfg: DictConfig, results: dict[str, Any], task: Task) -> None:
    """Log the main metrics, the existing files and the next commands, on the main process.

    Args:
        cfg: config of the run.
        results: task -> metric -> value, in percent.
        task: see `Task`.
    """
    if not comm.is_main_process():
        return
    output = Path(cfg.train.output_dir)
    scores = [
        f"{name}/{metric} {metrics[metric]:.1f}"
        for name, metrics in results.items()
        if isinstance(metrics, dict)
        for metric in task.headlines
        if metric in metrics
    ]
    files = {output / name: what for name, what in {**_FILES, **task.leaves}.items()}
    lines = ["Done. " + ", ".join(scores) if scores else "Done."]
    lines += [f"  {path}  {what}" for path, what in files.items() if path.exists()]
    averaged = OmegaConf.select(cfg, "train.ema.enabled")  # which is then what was evaluated
    weights = output / ("averaged_final.pth" if averaged else "model_final.pth")
    config, weights = shlex.quote(str(output / "config.yaml")), shlex.quote(str(weights))
    lines += [
        "Next:",
        f"  python train_net.py --config-file {config} --eval-only train.init_checkpoint={weights}",
    ]
    if task.predict_inputs:
        lines.append(
            f"  python -m mvit_det.predict --config-file {config} --weights {weights} "
            f"{task.predict_inputs} --output FOLDER"
        )
    lines.append(f"  tensorboard --logdir {shlex.quote(str(output))}")
    if task.custom_data_command is not None:
        custom_config, flags = task.custom_data_command
        lines += [
            f"  your own data: python train_net.py --config-file {custom_config} \\",
            f"      {flags}",
        ]
    logger.info("\n".join(lines))
