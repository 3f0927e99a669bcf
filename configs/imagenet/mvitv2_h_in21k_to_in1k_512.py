from ..common.data.imagenet import dataloader, train_images
from ..common.schedule import iterations
from .mvitv2_h_in21k_to_in1k_384 import lr_multiplier, model, optimizer, task, train

# Paper, appendix B.2: 3 epochs from the model of 384, with mixup, weight decay 1e-8. The learning
# rate is not stated; 1.6e-5 per 128 images is that of the paper's other runs with this decay (B.4,
# long clips). Batch size and warm-up, here half an epoch, are our choice.
model.backbone.input_size = (512, 512)
dataloader.train.total_batch_size = 512
optimizer.lr = 1.6e-5 * 512 / 128
optimizer.weight_decay = 1e-8
train.max_iter = iterations(3, train_images, dataloader.train.total_batch_size)
# Never released: mvitv2_h_in21k_to_in1k_384.py makes it.
train.init_checkpoint = "output/mvitv2_h_in21k_to_in1k_384/model_final.pth"
train.output_dir = "output/mvitv2_h_in21k_to_in1k_512"

published = dict(table="3", top1=88.3, top1_resize=88.8, parameters=667, flops=763.5)
