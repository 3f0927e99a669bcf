from ...imagenet.mvitv2_s_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.rel_pos_on = "qv"
train.output_dir = "output/tableA4_qv_in1k"

published = dict(table="A.4", top1=83.7)
