from ..common.data.imagenet import train_images
from ..common.schedule import cosine_schedule, iterations
from .mvitv2_t_in1k import dataloader, model, optimizer, task, train

# Paper, appendix B.2: 30 epochs, 8 images per GPU, 4e-5 per 256 images. The number of GPUs is not
# stated; we take the 64 of the first training, and with linear scaling any other number is the same
# recipe. Warm-up is not stated either: 5 epochs are our choice; start and end rates relative to
# optimizer.lr, drop path and augmentation are those of the first training.
model.backbone.input_size = (384, 384)
dataloader.train.total_batch_size = 8 * 64
optimizer.lr = 4e-5 * 512 / 256
train.max_iter = iterations(30, train_images, dataloader.train.total_batch_size)
lr_multiplier = cosine_schedule(warmup=5 / 30)
train.init_checkpoint = "mvitv2_t_in1k"
train.output_dir = "output/mvitv2_t_in1k_384"

# No accuracy was reported for T and S at this size.
published = dict()
