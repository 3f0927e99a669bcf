from ...imagenet.mvitv2_s_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.full_pooling = "kv"
train.output_dir = "output/table7_residual_in1k"

published = dict(table="7", top1=83.6)
