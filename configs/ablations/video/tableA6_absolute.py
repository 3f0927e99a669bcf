from ...kinetics.mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.update(use_rel_pos=False, use_abs_pos=True)
train.output_dir = "output/tableA6_absolute"

published = dict(table="A.6", top1=80.4, parameters=34.7)
