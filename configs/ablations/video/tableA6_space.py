from ...kinetics.mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.rel_pos_tables = ("h", "w")
train.output_dir = "output/tableA6_space"

published = dict(table="A.6", top1=80.6, parameters=34.5)
