"""Released schedules, scaled to the size of custom data and to the machine."""

import logging

from omegaconf import DictConfig

logger = logging.getLogger(__name__)

MIN_ITERATIONS = 500
EVALUATIONS = 10


def custom_batch(samples: int, released: int, processes: int) -> int:
    """Return the total batch size: ``samples`` per process, at most ``released`` if possible."""
    return max(1, min(samples, released // processes)) * processes


def fit_schedule(
    cfg: DictConfig, num_samples: int, batch: int, *, epochs: int, released_batch: int
) -> None:
    """Set the batch size, the number of iterations, the learning rate and the periods of a config.

    Args:
        cfg: config of any task, changed in place.
        num_samples: number of images or videos.
        batch: total batch size over all processes.
        epochs: passes over the data; at least 500 iterations are set.
        released_batch: batch size that ``cfg.optimizer.lr`` is for. The learning rate is scaled
            with the square root of the batch size, the usual rule for Adam; linearly for SGD.
    """
    iterations = max(MIN_ITERATIONS, epochs * num_samples // batch)
    period = max(1, iterations // EVALUATIONS)
    cfg.dataloader.train.total_batch_size = batch
    power = 1.0 if "momentum" in cfg.optimizer else 0.5
    cfg.optimizer.lr = round(cfg.optimizer.lr * (batch / released_batch) ** power, 8)
    cfg.train.max_iter = iterations
    cfg.train.eval_period = period
    cfg.train.checkpointer.period = period
    cfg.train.checkpointer.max_to_keep = 3
    logger.info(
        "Schedule for %d samples: train.max_iter=%d dataloader.train.total_batch_size=%d "
        "optimizer.lr=%.3g train.eval_period=%d (override any of them)",
        *(num_samples, iterations, batch, cfg.optimizer.lr, period),
    )
