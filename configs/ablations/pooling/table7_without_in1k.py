from ...imagenet.mvitv2_s_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.update(full_pooling="kv", residual_pooling=False)
train.output_dir = "output/table7_without_in1k"

published = dict(table="7", top1=83.3)
