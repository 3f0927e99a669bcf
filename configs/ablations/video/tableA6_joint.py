from ...kinetics.mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.rel_pos_tables = ("thw",)  # too slow for the authors to finish
train.output_dir = "output/tableA6_joint"

published = dict(table="A.6", parameters=73.7)
