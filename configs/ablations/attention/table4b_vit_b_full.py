from ...common.models.mask_rcnn import vit_b
from ...mask_rcnn_mvitv2_t_3x import dataloader, lr_multiplier, model, optimizer, task, train

# Maps of the last blocks of the four quarters, resampled for the pyramid; also a row of Table 9.
model.backbone.bottom_up = vit_b(drop_path_rate=0.1)
train.init_checkpoint = "output/table4a_vit_b_full/model_final.pth"
train.output_dir = "output/table4b_vit_b_full"

published = dict(table="4b", box_ap=46.6, mask_ap=42.3, flops=879)
