"""The last lines of a run: where everything is, and what to do next."""

import logging
import shlex
from pathlib import Path
from typing import Any

from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

logger = logging.getLogger(__name__)

# what a reader looks for first, in this order
_HEADLINES = ("AP", "AP50", "top1", "top5", "mAP50")
_FILES = (
    ("config.yaml", "the config as it ran"),
    ("model_final.pth", "the last weights"),
    ("averaged_final.pth", "the moving average of the weights"),
    ("model_best.pth", "the weights that evaluated best"),
    ("metrics.json", "all numbers, one line per logging step"),
    ("coco_instances_results.json", "the detections, in COCO format"),
    ("classification_predictions.npz", "the five best classes of each image (numpy.load)"),
    ("video_scores.npz", "the scores of each video, averaged over its views (numpy.load)"),
    ("action_detections.csv", "the scores of each box and action, in AVA's format"),
    ("class_accuracy.csv", "accuracy of each class, and what it is taken for"),
    ("losses.png", "loss curves"),
    ("ap.png", "AP curves"),
    ("accuracy.png", "accuracy curves"),
    ("map.png", "mAP curve"),
    ("pictures/overview.png", "predictions beside what is true"),
    ("pictures/precision_recall.png", "precision over recall"),
    ("pictures/class_accuracy.png", "accuracy by class"),
    ("pictures/action_ap.png", "AP by action"),
    ("pictures/confusion.png", "which classes are taken for which"),
)
# own data for a model of the same task: (config, flags, what it predicts from)
_DETECTION = (
    "configs/mask_rcnn_mvitv2_t_3x.py",
    "--train-json FILE --train-images FOLDER --val-json FILE --val-images FOLDER",
    "PICTURES",
)
_CLASSIFICATION = (
    "configs/imagenet/mvitv2_t_in1k.py",
    "--train-images FOLDER --val-images FOLDER  (one folder per class)",
    "PICTURES",
)
_VIDEOS = (
    "configs/kinetics/mvitv2_s_16x4_k400.py",
    "--train-videos FOLDER --val-videos FOLDER  (one folder per class)",
    "VIDEOS",
)
_ACTIONS = (
    "configs/ava/mvitv2_s_16x4_k400_ava.py",
    "--train-videos FOLDER --train-actions CSV --val-videos FOLDER --val-actions CSV",
    "VIDEOS --boxes CSV",
)


def summarize(cfg: DictConfig, results: dict[str, Any]) -> None:
    """Log the main metrics, the files that exist, and the next commands; first process only."""
    if not comm.is_main_process():
        return
    output = Path(cfg.train.output_dir)
    scores = [
        f"{task}/{name} {metrics[name]:.1f}"
        for task, metrics in results.items()
        if isinstance(metrics, dict)
        for name in _HEADLINES
        if name in metrics
    ]
    lines = ["Done. " + ", ".join(scores) if scores else "Done."]
    lines += [f"  {output / name}  {what}" for name, what in _FILES if (output / name).exists()]
    averaged = OmegaConf.select(cfg, "train.ema.enabled")  # which is then what was evaluated
    weights = output / ("averaged_final.pth" if averaged else "model_final.pth")
    config, weights = shlex.quote(str(output / "config.yaml")), shlex.quote(str(weights))
    own_config, own_flags, inputs = _own_data(cfg)
    lines += [
        "Next:",
        f"  python train_net.py --config-file {config} --eval-only train.init_checkpoint={weights}",
        f"  python -m mvit_det.predict --config-file {config} --weights {weights} {inputs} "
        "--output FOLDER",
        f"  tensorboard --logdir {shlex.quote(str(output))}",
        f"  your own data: python train_net.py --config-file {own_config} \\",
        f"      {own_flags}",
    ]
    logger.info("\n".join(lines))


def _own_data(cfg: DictConfig) -> tuple[str, str, str]:
    if OmegaConf.select(cfg, "model.roi_heads") is not None:
        return _DETECTION
    if OmegaConf.select(cfg, "model.roi_size") is not None:
        return _ACTIONS
    size = OmegaConf.select(cfg, "model.backbone.input_size") or ()
    return _VIDEOS if len(size) == 3 else _CLASSIFICATION
