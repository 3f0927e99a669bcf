from ...imagenet.mvitv2_s_in1k import dataloader, lr_multiplier, model, optimizer, task, train

# in tokens of each stage's own grid; with these the paper's 6.4 G and 6.5 G are counted
model.backbone.update(attention="swin", adaptive_window_size=(56, 14, 7, 7))
train.output_dir = "output/table4a_s_swin"

published = dict(table="4a", top1=82.8, flops=6.4)
