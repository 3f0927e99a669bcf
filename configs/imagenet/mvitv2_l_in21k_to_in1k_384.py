from .mvitv2_l_in21k_to_in1k import dataloader, lr_multiplier, model, optimizer, task, train

# Also from ImageNet-21K: models in Table 3 differ by the size at which they are fine-tuned.
model.backbone.input_size = (384, 384)
train.output_dir = "output/mvitv2_l_in21k_to_in1k_384"

published = dict(table="3", top1=88.2, top1_resize=88.4, parameters=218, flops=140.7)
