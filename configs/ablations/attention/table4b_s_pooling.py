from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.update(attention="full", coarse_global_kv=False)
train.output_dir = "output/table4b_s_pooling"

published = dict(table="4b", box_ap=50.8)
