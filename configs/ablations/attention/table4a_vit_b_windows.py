from .table4a_vit_b_full import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.update(attention="windows", adaptive_window_size=7)
train.output_dir = "output/table4a_vit_b_windows"

published = dict(table="4a", top1=80.0, flops=17.0)
