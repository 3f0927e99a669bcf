from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.rel_pos_on = "qk"
optimizer.params.overrides.rel_pos_k_h = dict(weight_decay=0.0)
optimizer.params.overrides.rel_pos_k_w = dict(weight_decay=0.0)
train.init_checkpoint = "output/tableA4_qk_in1k/model_final.pth"
train.output_dir = "output/tableA4_qk_coco"

published = dict(table="A.4", box_ap=50.0, mask_ap=45.0)
