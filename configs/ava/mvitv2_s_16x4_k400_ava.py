from ..common.data.ava import dataloader, train_key_frames
from ..common.models.action_detector import model, task
from ..common.optim import classification_SGD as optimizer
from ..common.schedule import cosine_schedule, iterations
from ..common.train import train

# Paper, appendix B.6: 30 epochs, the first 5 of them warm-up; 0.6 per 512 clips. Momentum and what
# decays are not stated: those of Something-Something-v2. Nor is where the warm-up begins and the
# cosine ends: at 0.00125 of the rate, as in PySlowFast's configs of AVA, and at 0, its default.
optimizer.lr = 0.6
optimizer.weight_decay = 1e-8
train.max_iter = iterations(30, train_key_frames, dataloader.train.total_batch_size)
lr_multiplier = cosine_schedule(warmup=5 / 30, start=0.00125, end=0.0)
train.eval_period = train.max_iter // 15  # 2 epochs
train.best_metric = "actions/mAP50"
train.init_checkpoint = "mvitv2_s_16x4_k400"
train.output_dir = "output/mvitv2_s_16x4_k400_ava"

# The paper's figures of this row: mAP in the centre and of full frames, millions of parameters,
# GFLOPs in the centre.
published = dict(table="A.2", center=26.8, full=27.6, parameters=34.3, flops=64.5)
