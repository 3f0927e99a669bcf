"""A released schedule, scaled to the size of one's own data and of the machine."""

import logging

from omegaconf import DictConfig

logger = logging.getLogger(__name__)

MIN_ITERATIONS = 500
EVALUATIONS = 10


def custom_batch(samples: int, released: int, processes: int) -> int:
    """Of all processes together: ``samples`` for each, and not above the released one if possible."""
    return max(1, min(samples, released // processes)) * processes


def fit_schedule(
    cfg: DictConfig, num_samples: int, batch: int, *, epochs: int, released_batch: int
) -> None:
    """Set the length of training, the learning rate, and when to evaluate and save.

    Args:
        num_samples: images or videos of the data.
        batch: of them per iteration of all processes.
        epochs: passes over the data; at least 500 iterations are made.
        released_batch: the batch that ``cfg.optimizer.lr`` is for. The rate falls with the square
            root of the batch, the usual rule for Adam; with SGD, as the batch.
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
