from detectron2.config import LazyCall as L
from detectron2.solver import get_default_optimizer_params
from torch.optim import SGD as TorchSGD
from torch.optim import AdamW as TorchAdamW

from mvit_det.engine import classification_parameters

# Released COCO recipe: norms and position embeddings do not decay, biases do (in the classification
# recipe it is the other way round for biases and relative positions).
AdamW = L(TorchAdamW)(
    params=L(get_default_optimizer_params)(
        # params.model is set to the model before the optimiser is instantiated
        base_lr="${..lr}",
        weight_decay_norm=0.0,
        overrides={
            "pos_embed": {"weight_decay": 0.0},
            "rel_pos_h": {"weight_decay": 0.0},
            "rel_pos_w": {"weight_decay": 0.0},
        },
    ),
    lr=1.6e-4,  # at 64 images per iteration (paper, appendix B.3)
    betas=(0.9, 0.999),
    weight_decay=0.1,
)

# Released classification recipe: vectors and biases do not decay, positions and the class token do.
classification_AdamW = L(TorchAdamW)(
    params=L(classification_parameters)(
        base_lr="${..lr}",
        layer_decay=1.0,  # factor on the learning rate from each layer to the one before it
        decay_positions=True,
    ),
    lr=2e-3,  # at 2048 images per iteration (paper, appendix B.2)
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.05,
)

# Released recipe of Something-Something-v2; the same parameters decay as above.
classification_SGD = L(TorchSGD)(
    params=classification_AdamW.params,
    lr=0.02,  # at 128 clips per iteration
    momentum=0.9,
    nesterov=True,
    weight_decay=1e-4,
)
