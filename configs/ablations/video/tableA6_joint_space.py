from ...kinetics.mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.rel_pos_tables = ("t", "hw")
train.output_dir = "output/tableA6_joint_space"

published = dict(table="A.6", top1=81.1, parameters=37.1)
