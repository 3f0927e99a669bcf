from .table4b_vit_b_full import dataloader, lr_multiplier, model, optimizer, task, train

# windows of the grid of pre-training, as the paper has for MViTv2
model.backbone.bottom_up.update(attention="hwin", adaptive_window_size=14)
train.output_dir = "output/table4b_vit_b_hwin"

published = dict(table="4b", box_ap=46.1)
