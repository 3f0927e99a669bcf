from .table4a_vit_b_full import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.update(attention="hwin", adaptive_window_size=7)
train.output_dir = "output/table4a_vit_b_hwin"

published = dict(table="4a", top1=82.1, flops=17.1)
