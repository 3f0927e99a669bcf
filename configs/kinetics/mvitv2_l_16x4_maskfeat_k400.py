from ..common.data.kinetics import train_videos
from ..common.models.recognizer import mvitv2
from ..common.schedule import cosine_schedule, iterations
from .mvitv2_s_16x4_maskfeat_k400 import dataloader, model, optimizer, task, train

# By the released config: 75 epochs, the first 5 of them warm-up, 6e-4 per 16 videos with one clip
# each, from 1e-8 to 1e-5 per 16. Recomputing activations is our choice; it changes no number.
model.backbone = mvitv2(
    "L", (16, 224, 224), drop_path_rate=0.2, expand_in="mlp", use_act_checkpoint=True
)
model.max_views = 4
dataloader.train.repeats = 1
optimizer.params.layer_decay = 0.875
train.max_iter = iterations(75, train_videos(), dataloader.train.total_batch_size)
train.eval_period = train.max_iter // 15  # 5 epochs
lr_multiplier = cosine_schedule(warmup=5 / 75, start=1e-8 / 6e-4, end=1e-5 / 6e-4)
train.init_checkpoint = "mvitv2_l_16x4_maskfeat_k400"
train.output_dir = "output/mvitv2_l_16x4_maskfeat_k400"

published = dict(table="MaskFeat", top1=84.3, parameters=218, flops=377)
