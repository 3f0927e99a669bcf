"""What a run needs besides model, data and optimiser; the keys are Detectron2's."""

import torch

train = dict(
    output_dir="./output",
    init_checkpoint="",
    init_ema=True,  # take the moving average of the weights, where init_checkpoint has one
    inflation="centre",  # of image weights in a model for clips: "centre", "mean" or "repeat"
    max_iter=90000,
    seed=-1,  # a fixed seed makes runs repeatable; -1 draws one
    amp=dict(enabled=False, dtype="float16"),  # mixed precision; "bfloat16" on CPUs
    eval_precision="fp32",  # of evaluations, whatever the training's: "fp32", "bf16" or "fp16"
    gradient_accumulation=1,  # parts of a batch that go through the model one by one
    clip_gradients=None,  # largest global L2 norm of the gradients; None for no limit
    ema=dict(
        enabled=False, decay=0.9999
    ),  # moving average of the weights, which is evaluated in place of the weights
    ddp=dict(  # arguments of DistributedDataParallel
        broadcast_buffers=False,
        find_unused_parameters=False,
        fp16_compression=False,
    ),
    checkpointer=dict(period=5000, max_to_keep=100),  # in iterations; files
    best_metric="bbox/AP",  # model_best.pth has the highest value of it; "" for none
    eval_period=5000,
    log_period=20,
    timeout=600,  # seconds; a process or a loader's worker that is silent for longer is frozen
    device="cuda" if torch.cuda.is_available() else "cpu",
)
