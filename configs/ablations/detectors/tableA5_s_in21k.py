from ...mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

# Never released: configs/imagenet/mvitv2_s_in21k.py makes it.
train.init_checkpoint = "output/mvitv2_s_in21k/model_final.pth"
train.output_dir = "output/tableA5_s_in21k"

published = dict(table="A.5", box_ap=50.2, mask_ap=45.1)
