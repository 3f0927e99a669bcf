from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.rel_pos_on = "qkv"
optimizer.params.overrides.rel_pos_k_h = dict(weight_decay=0.0)
optimizer.params.overrides.rel_pos_k_w = dict(weight_decay=0.0)
optimizer.params.overrides.rel_pos_v_h = dict(weight_decay=0.0)
optimizer.params.overrides.rel_pos_v_w = dict(weight_decay=0.0)
train.init_checkpoint = "output/tableA4_qkv_in1k/model_final.pth"
train.output_dir = "output/tableA4_qkv_coco"

published = dict(table="A.4")
