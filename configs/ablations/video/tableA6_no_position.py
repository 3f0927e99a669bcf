from ...kinetics.mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.use_rel_pos = False
train.output_dir = "output/tableA6_no_position"

published = dict(table="A.6", top1=80.1, parameters=34.4)
