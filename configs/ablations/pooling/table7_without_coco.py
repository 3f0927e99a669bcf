from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.update(full_pooling="kv", residual_pooling=False)
train.init_checkpoint = "output/table7_without_in1k/model_final.pth"
train.output_dir = "output/table7_without_coco"

published = dict(table="7", box_ap=48.5)
