from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler


def step_schedule(max_iter, milestones, warmup_iters=250):
    """Learning rate x 0.1 at each milestone (in iterations), after a linear warm-up.

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
