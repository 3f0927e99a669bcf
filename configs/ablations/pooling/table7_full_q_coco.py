from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.residual_pooling = False
train.init_checkpoint = "output/table7_full_q_in1k/model_final.pth"
train.output_dir = "output/table7_full_q_coco"

published = dict(table="7", box_ap=48.5)
