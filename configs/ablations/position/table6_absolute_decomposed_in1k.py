from ...imagenet.mvitv2_s_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.use_abs_pos = True
train.output_dir = "output/table6_absolute_decomposed_in1k"

published = dict(table="6", top1=83.7)
