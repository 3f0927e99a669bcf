from ...kinetics.mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.rel_pos_tables = ("t",)
train.output_dir = "output/tableA6_time"

published = dict(table="A.6", top1=80.8, parameters=34.4)
