from .table14_l_40x3_312_scratch import dataloader, lr_multiplier, model, optimizer, task, train

train.init_checkpoint = "output/table14_l_16x4_in1k/model_final.pth"
train.output_dir = "output/table14_l_40x3_312_in1k"

published = dict(table="14", top1=84.4, parameters=217.6, flops=2828)
