from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.use_rel_pos = False
train.init_checkpoint = "output/table6_no_position_in1k/model_final.pth"
train.output_dir = "output/table6_no_position_coco"

published = dict(table="6", box_ap=49.2)
