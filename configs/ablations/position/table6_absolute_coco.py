from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.update(use_rel_pos=False, use_abs_pos=True, pretrain_use_cls_token=False)
train.init_checkpoint = "output/table6_absolute_in1k/model_final.pth"
train.output_dir = "output/table6_absolute_coco"

published = dict(table="6", box_ap=49.3)
