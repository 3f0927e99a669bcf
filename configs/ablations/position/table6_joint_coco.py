from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.rel_pos_tables = ("hw",)
optimizer.params.overrides.rel_pos_hw = dict(weight_decay=0.0)
train.init_checkpoint = "output/table6_joint_in1k/model_final.pth"
train.output_dir = "output/table6_joint_coco"

published = dict(table="6", box_ap=49.9)
