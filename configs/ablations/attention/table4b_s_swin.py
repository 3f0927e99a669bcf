from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

# windows of 56, 28, 14 and 7 tokens, as with Hwin
model.backbone.bottom_up.update(attention="swin", coarse_global_kv=False)
train.output_dir = "output/table4b_s_swin"

published = dict(table="4b", box_ap=48.9)
