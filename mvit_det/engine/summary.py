"""Log the last lines of a run: main metrics, output files and next commands."""

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

from mvit_det.commands import command

logger = logging.getLogger(__name__)

_FILES = {
    "config.yaml": "the config as it ran",
    "model_final.pth": "the last weights",
    "averaged_final.pth": "the moving average of the weights",
    "model_best.pth": "the weights that evaluated best",
    "metrics.json": "all numbers, one line per logging step",
    "losses.png": "loss curves",
}


class TaskSummary(Protocol):
    """The part of `mvit_det.tasks.Task` that the summary of a run needs."""

    headlines: ClassVar[tuple[str, ...]]
    output_files: ClassVar[Mapping[str, str]]
    custom_data_command: ClassVar[tuple[str, str] | None]
    predict_inputs: ClassVar[str]


def summarize(cfg: DictConfig, results: dict[str, Any], task: TaskSummary) -> None:
    """Log the main metrics, the existing files and the next commands, on the main process.

    Args:
        cfg: config of the run.
        results: task -> metric -> value, in percent.
        task: names the metrics, the files and the commands.
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
    files = {output / name: what for name, what in {**_FILES, **task.output_files}.items()}
    lines = ["Done. " + ", ".join(scores) if scores else "Done."]
    lines += [f"  {path}  {what}" for path, what in files.items() if path.exists()]
    averaged = OmegaConf.select(cfg, "train.ema.enabled")  # then the average was evaluated
    weights = shlex.quote(f"{output}/{'averaged' if averaged else 'model'}_final.pth")
    config = shlex.quote(f"{output}/config.yaml")
    start = f"{command('train')} --config-file"
    lines += ["Next:", f"  {start} {config} --eval-only train.init_checkpoint={weights}"]
    if task.predict_inputs:
        lines.append(
            f"  {command('predict')} --config-file {config} --weights {weights} "
            f"{task.predict_inputs} --output FOLDER"
        )
    lines.append(f"  tensorboard --logdir {shlex.quote(str(output))}")
    if task.custom_data_command is not None:
        custom_config, flags = task.custom_data_command
        lines += [f"  custom data: {start} {custom_config} \\", f"      {flags}"]
    logger.info("\n".join(lines))
