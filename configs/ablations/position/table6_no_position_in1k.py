from ...imagenet.mvitv2_s_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.use_rel_pos = False
train.output_dir = "output/table6_no_position_in1k"

published = dict(table="6", top1=83.3)
