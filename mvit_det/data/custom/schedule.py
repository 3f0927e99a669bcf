"""Released schedules, scaled to the size of custom data and to the machine."""

import logging

from omegaconf import DictConfig, OmegaConf

from mvit_det.errors import check_count

logger = logging.getLogger(__name__)

MIN_ITERATIONS = 500
EVALUATIONS = 10
CUSTOM_TRAIN = "custom_train"  # name of the training data
_BATCH = "dataloader.train.total_batch_size"


def fit_schedule(
    cfg: DictConfig, num_samples: int, samples: int, processes: int, *, epochs: int
) -> None:
    """Set the batch size, the number of iterations, the learning rate and the periods of a config.

    The learning rate, which is for the batch size of the config, is scaled with the square root of
    the batch size, the usual rule for Adam; linearly for SGD. A config that has custom training
    data already, as the config.yaml of a run, keeps its schedule: call this before replacing them.

    Args:
        cfg: config of any task, changed in place.
        num_samples: number of images or videos.
        samples: batch size per process, if that is at most the batch size of the config in all.
        processes: number of training processes, which share the batch.
        epochs: passes over the data; at least 500 iterations are set.

    Raises:
        UserError: the batch size of the config is not a whole number of at least 1.
    """
    data = cfg.dataloader.train
    if OmegaConf.select(data, "dataset.name") == CUSTOM_TRAIN:
        logger.info("The schedule of this config was fitted to custom data before, and is kept.")
        return
    released = data.total_batch_size
    check_count("the config", **{_BATCH: released})
    batch = max(1, min(samples, released // processes)) * processes
    iterations = max(MIN_ITERATIONS, epochs * num_samples // batch)
    period = max(1, iterations // EVALUATIONS)
    data.total_batch_size = batch
    power = 1.0 if "momentum" in cfg.optimizer else 0.5
    cfg.optimizer.lr = round(cfg.optimizer.lr * (batch / released) ** power, 8)
    cfg.train.max_iter = iterations
    cfg.train.eval_period = period
    cfg.train.checkpointer.period = period
    cfg.train.checkpointer.max_to_keep = 3


def log_schedule(cfg: DictConfig) -> None:
    """Log what `fit_schedule` has set, after overrides."""
    keys = ("train.max_iter", _BATCH, "optimizer.lr", "train.eval_period")
    values = (f"{key}={OmegaConf.select(cfg, key)}" for key in keys)
    logger.info("Schedule for the custom data: %s (override any of them)", " ".join(values))
