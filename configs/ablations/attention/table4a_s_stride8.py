from ...imagenet.mvitv2_s_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.adaptive_kv_stride = (8, 8)
train.output_dir = "output/table4a_s_stride8"

published = dict(table="4a", top1=83.2, flops=6.3)
