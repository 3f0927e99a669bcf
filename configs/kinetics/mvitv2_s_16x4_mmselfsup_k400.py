from .mvitv2_s_16x4_maskfeat_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# MMAction2's fine-tuning after MMSelfSup's MaskFeat: rates, epochs and augmentations are those of
# the released config, but its model reads the class token, and its test resizes the shorter side
# of frames to 224. The norm of the pre-training is taken too, which MMAction2 starts anew.
model.readout = "class_token"
dataloader.test.mapper.transform.short_side = 224
train.init_checkpoint = "mmselfsup/maskfeat_mvit-small_16xb32-amp-coslr-300e_k400"
train.output_dir = "output/mvitv2_s_16x4_mmselfsup_k400"

published = dict(
    table="MMAction2",
    top1=81.8,
    top5=95.2,
    parameters=36.4,
    flops=71,
    weights="mmaction2/mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb",
)
