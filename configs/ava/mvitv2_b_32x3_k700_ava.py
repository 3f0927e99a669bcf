from .mvitv2_b_32x3_k400_ava import dataloader, lr_multiplier, model, optimizer, task, train

# Never released: configs/kinetics/mvitv2_b_32x3_k700.py makes it.
train.init_checkpoint = "output/mvitv2_b_32x3_k700/model_final.pth"
train.output_dir = "output/mvitv2_b_32x3_k700_ava"

published = dict(table="A.2", center=31.3, full=32.3, parameters=51.0, flops=225.2)
