from ...imagenet.mvitv2_s_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.update(use_rel_pos=False, use_abs_pos=True)
train.output_dir = "output/table6_absolute_in1k"

published = dict(table="6", top1=83.5)
