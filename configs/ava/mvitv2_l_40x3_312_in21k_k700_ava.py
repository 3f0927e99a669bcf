from ..common.data.kinetics import use_imagenet_colours
from ..common.models.recognizer import mvitv2
from .mvitv2_s_16x4_k400_ava import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone = mvitv2("L", (40, 312, 312), drop_path_rate=0.4, use_act_checkpoint=True)
use_imagenet_colours(dataloader)
dataloader.train.mapper.sampling.sampling_rate = 3
# Not stated: 256 to 320 of S and B, in proportion to the crop; as of Something-Something-v2.
dataloader.train.mapper.transform.short_side = (356, 446)
dataloader.test.batch_size = 1
# Never released: configs/kinetics/mvitv2_l_40x3_312_in21k_k700.py makes it.
train.init_checkpoint = "output/mvitv2_l_40x3_312_in21k_k700/model_final.pth"
train.output_dir = "output/mvitv2_l_40x3_312_in21k_k700_ava"

published = dict(table="A.2", center=33.5, full=34.4, parameters=213.0, flops=2828)
