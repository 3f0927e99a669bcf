from .table4b_s_pooling import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up.adaptive_kv_stride = 8
train.init_checkpoint = "output/table4a_s_stride8/model_final.pth"
train.output_dir = "output/table4b_s_stride8"

published = dict(table="4b", box_ap=50.0)
