from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
)


def step_schedule(max_iter, milestones, warmup_iters=250):
    """Multiply the learning rate by 0.1 at each milestone (in iterations), after linear warm-up.

    The schedule is stored relative to max_iter, so an override of train.max_iter stretches it.
    """
    return L(WarmupParamScheduler)(
        scheduler=L(MultiStepParamScheduler)(
            values=[0.1**step for step in range(len(milestones) + 1)],
            milestones=[*milestones, max_iter],
        ),
        warmup_length=warmup_iters / max_iter,
        warmup_factor=0.001,
    )


# 3x: 67500 iterations * 64 images / 118287 images of coco_2017_train = 36.5 epochs
max_iter_3x = 67500
lr_multiplier_3x = step_schedule(max_iter_3x, milestones=[52500, 62500])

# 92187 iterations * 64 images / 118287 images = 49.9 epochs, for large-scale jitter
max_iter_50ep = 92187
lr_multiplier_50ep = step_schedule(max_iter_50ep, milestones=[81944, 88773])


def iterations(epochs, images, batch_size):
    """Convert epochs to iterations, without partial batches at the ends, as in released code."""
    return epochs * (images // batch_size)


def cosine_schedule(warmup, start=4e-5, end=4e-3):
    """Warm up linearly, then follow half a cosine; all values are multiples of optimizer.lr.

    Args:
        warmup: share of the training, 0 to 1; an override of train.max_iter stretches it.
        start: value at the beginning of the warm-up.
        end: value at the end of training. By default both are the released ones of ImageNet-1K,
            8e-8 and 8e-6 with optimizer.lr 2e-3.
    """
    return L(CompositeParamScheduler)(
        schedulers=[
            L(LinearParamScheduler)(start_value=start, end_value=1.0),
            L(CosineParamScheduler)(start_value=1.0, end_value=end),
        ],
        lengths=[warmup, 1 - warmup],
        interval_scaling=["rescaled", "rescaled"],
    )
