from .table4b_vit_b_full import dataloader, lr_multiplier, model, optimizer, task, train

# as table4a_vit_b_pooling
model.backbone.bottom_up.update(
    adaptive_kv_stride=2, halving_blocks=(6,), full_pooling="qkv", residual_pooling=True
)
train.init_checkpoint = "output/table4a_vit_b_pooling/model_final.pth"
train.output_dir = "output/table4b_vit_b_pooling"

published = dict(table="4b", box_ap=47.2)
