from ..common.data.kinetics import dataloader, train_videos
from ..common.models.recognizer import model, task
from ..common.optim import classification_AdamW as optimizer
from ..common.schedule import cosine_schedule, iterations
from ..common.train import train

# 200 epochs, the first 30 of them warm-up; 1e-4 per 16 videos with two clips each, which is the
# paper's 1.6e-3 per 512 clips (appendix B.4). Both ends of the schedule are at 1e-6 per 16.
optimizer.lr = 1e-4 * 256 / 16
train.max_iter = iterations(200, train_videos(), dataloader.train.total_batch_size)
lr_multiplier = cosine_schedule(warmup=30 / 200, start=0.01, end=0.01)
train.clip_gradients = 1.0
train.eval_period = train.max_iter // 20  # 10 epochs
train.best_metric = "classification/top1"
train.output_dir = "output/mvitv2_s_16x4_k400"

# Figures of the paper: accuracy, millions of parameters, GFLOPs per view; the views are those of
# dataloader.test. And the trained weights, if released: --eval-only train.init_checkpoint=...
published = dict(
    table="10", top1=81.0, top5=94.6, parameters=34.5, flops=64, weights="mvitv2_s_16x4_k400"
)
