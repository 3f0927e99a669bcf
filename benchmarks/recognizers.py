"""Compare time and memory of our classifiers with timm's, torchvision's and our plain form.

    python benchmarks/recognizers.py [--models T S B S16x4 B32x3] [--batch-size 2] [--repeats 5]
                                     [--device cuda]

All models have the same weights and inputs in float32 and run in turn in one process; outputs are
compared before timing. A training step is forward, cross-entropy and backward, without optimizer,
stochastic depth or dropout. ``S16x4`` and ``B32x3`` are the networks for clips of 16 and 32 frames
of 224 x 224 pixels. torchvision has a function for the first only; its class builds the second.
"plain" is our network with the attention map in memory.
"""

import argparse
import copy
import statistics
import tempfile
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import nn
from torchvision.models.video import MViT as TorchvisionMViT
from torchvision.models.video.mvit import MSBlockConfig

from mvit_det.backbone import VARIANTS, multiscale_plan
from mvit_det.benchmark import timing
from mvit_det.checkpoint import read_weights
from mvit_det.checkpoint.converting import translate
from mvit_det.recognition import CLIP_ARGUMENTS, ClassifierMViT, Recognizer

TIMM = {"T": "mvitv2_tiny", "S": "mvitv2_small", "B": "mvitv2_base", "L": "mvitv2_large"}
FRAMES = {"S16x4": 16, "B32x3": 32}
CLASSES = 400


class PeerClassifier(nn.Module):
    """Another code base's classifier with the interface of `Recognizer`."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | torch.Tensor:
        """Compute the same as `Recognizer.forward`."""
        logits = self.network(batch["inputs"])
        if self.training:
            return {"loss_cls": F.cross_entropy(logits, batch["labels"])}
        return logits.softmax(dim=-1)


def build_ours(name: str) -> Recognizer:
    """Build our model of that name, with random weights."""
    row = VARIANTS[name[0]]
    options = dict(expand_in="mlp" if name == "L" else "attention")
    if name in FRAMES:
        options = dict(CLIP_ARGUMENTS, input_size=(FRAMES[name], 224, 224))
    backbone = ClassifierMViT(
        embed_dim=row.embed_dim,
        num_heads=row.num_heads,
        last_block_indexes=row.last_block_indexes,
        **options,
    )
    return Recognizer(backbone, CLASSES)


def build_theirs(name: str, ours: Recognizer) -> PeerClassifier:
    """Build timm's or torchvision's model of that name, with our weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.pth"
        torch.save({"model": ours.state_dict()}, path)
        weights, _, _ = translate(read_weights(path), "torchvision" if name in FRAMES else "timm")
    if name in FRAMES:
        network = build_torchvision(name)
    else:
        network = timm.create_model(TIMM[name], num_classes=CLASSES)
    network.load_state_dict(weights)
    return PeerClassifier(network)


def build_torchvision(name: str) -> TorchvisionMViT:
    """Build torchvision's network for clips: its ``mvit_v2_s`` with the depth of ``name``."""
    row = VARIANTS[name[0]]
    grid, stride_kv = (FRAMES[name] // 2, 56, 56), CLIP_ARGUMENTS["adaptive_kv_stride"]
    ends = row.last_block_indexes
    plan = multiscale_plan(
        embed_dim=96, num_heads=1, last_block_indexes=ends, grid=grid, stride_kv=stride_kv
    )
    return TorchvisionMViT(
        (224, 224),
        FRAMES[name],
        [
            MSBlockConfig(
                b.num_heads, b.dim_in, b.dim_out, [3] * 3, [3] * 3, b.stride_q, b.stride_kv
            )
            for b in plan
        ],
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        dropout=0.0,
        stochastic_depth_prob=0.0,
        num_classes=CLASSES,
    )


def measure_model(name: str, args: argparse.Namespace) -> list[list[str]]:
    """Measure one model; return rows of our times, and ratios of the others' to ours."""
    torch.manual_seed(0)
    device = torch.device(args.device)
    ours = build_ours(name)
    theirs = "torchvision" if name in FRAMES else "timm"
    models = {"ours": ours, theirs: build_theirs(name, ours)}
    if name in FRAMES:
        models["plain"] = copy.deepcopy(ours)
        for block in models["plain"].backbone.blocks:
            block.attn.fused = False
    models = {key: model.to(device).eval() for key, model in models.items()}
    batch = {
        "inputs": torch.randn(args.batch_size, 3, *ours.backbone.input_size, device=device),
        "labels": torch.randint(CLASSES, (args.batch_size,), device=device),
    }
    with torch.no_grad():
        expected, *others = (model(batch) for model in models.values())
    for other in others:
        torch.testing.assert_close(other, expected)
    results = timing.measure_models(models, (batch, batch), args.repeats, device, name)
    rows = []
    for key, ratios in timing.compare_models(results).items():
        row = [name, key]
        for time in timing.TIMES:
            row += [f"{1e3 * statistics.median(results['ours'][time]):.1f}"]
            row += ["{median:.2f} ({min:.2f}-{max:.2f})".format(**ratios[time])]
        for size in timing.SIZES:
            row += [f"{ratios[size]:.2f} ({results['ours'][size] / 2**20:.0f} MiB)"]
        rows.append(row)
    return rows


def main() -> None:
    """Measure all models and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=[*TIMM, *FRAMES], default=["T", "S", "B"])
    parser.add_argument("--batch-size", "--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    columns = ["", "", "forward, ms", "ratio", "training step, ms", "ratio"]
    columns += ["forward peak", "training peak", "saved for backward"]
    rows = [row for name in args.models for row in measure_model(name, args)]
    print(
        f"\nBatch {args.batch_size}, {args.device}, {torch.get_num_threads()} threads; ratios of "
        "medians\n(smallest-largest of the rounds); above 1, ours is faster or smaller; ours in ms "
        "and MiB"
    )
    print(tabulate(rows, columns, disable_numparse=True))


if __name__ == "__main__":
    main()
