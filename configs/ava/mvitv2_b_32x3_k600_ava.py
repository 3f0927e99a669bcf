from .mvitv2_b_32x3_k400_ava import dataloader, lr_multiplier, model, optimizer, task, train

# Never released: configs/kinetics/mvitv2_b_32x3_k600.py makes it.
train.init_checkpoint = "output/mvitv2_b_32x3_k600/model_final.pth"
train.output_dir = "output/mvitv2_b_32x3_k600_ava"

published = dict(table="A.2", center=29.9, full=30.5, parameters=51.0, flops=225.2)
