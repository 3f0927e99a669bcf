from ...imagenet.mvitv2_s_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.rel_pos_tables = ("hw",)
train.output_dir = "output/table6_joint_in1k"

published = dict(table="6", top1=83.6)
