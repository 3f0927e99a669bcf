from .mvitv2_b_32x3_ssv2 import dataloader, lr_multiplier, model, optimizer, task, train

# Never released: configs/kinetics/mvitv2_b_32x3_in21k_k400.py makes it.
train.init_checkpoint = "output/mvitv2_b_32x3_in21k_k400/model_final.pth"
train.output_dir = "output/mvitv2_b_32x3_in21k_ssv2"

published = dict(table="13", top1=72.1, top5=93.4, parameters=51.1, flops=225)
