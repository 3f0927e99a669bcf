from .table4b_vit_b_pooling import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.update(attention="hwin", adaptive_window_size=14)
train.output_dir = "output/table4b_vit_b_pooling_hwin"

published = dict(table="4b", box_ap=46.9)
