from ...kinetics.mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.update(full_pooling="kv", residual_pooling=False)
train.output_dir = "output/tableA7_without"

published = dict(table="A.7", top1=79.3, flops=64)
