"""Time and memory of our classifiers against timm's (images) and torchvision's (clips).

    python benchmarks/recognizers.py [--models T S B clip] [--batch 2] [--repeats 5] [--device cuda]

The same weights and inputs in float32, all models in turn in one process; outputs are compared
before anything is timed. A training step is forward, cross-entropy and backward, without optimizer,
stochastic depth or dropout. "clip" is S on 16 frames of 224 x 224 pixels, with a class token.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import nn
from torchvision.models.video import mvit_v2_s

from mvit_det.backbone import VARIANTS
from mvit_det.benchmark import timing
from mvit_det.checkpoint import read_weights
from mvit_det.checkpoint.converting import express
from mvit_det.recognition import OF_CLIPS, MViT, Recognizer

TIMM = {"T": "mvitv2_tiny", "S": "mvitv2_small", "B": "mvitv2_base", "L": "mvitv2_large"}
CLIP = dict(OF_CLIPS, input_size=(16, 224, 224))
CLASSES = 400


class Theirs(nn.Module):
    """Another code base's classifier with the face of ours."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | torch.Tensor:
        """As `Recognizer.forward`."""
        logits = self.network(batch["inputs"])
        if self.training:
            return {"loss_cls": F.cross_entropy(logits, batch["labels"])}
        return logits.softmax(dim=-1)


def build_ours(name: str) -> Recognizer:
    """Our model of that name, with random weights."""
    row = VARIANTS["S" if name == "clip" else name]
    options = CLIP if name == "clip" else dict(expand_in="mlp" if name == "L" else "attention")
    backbone = MViT(
        embed_dim=row.embed_dim,
        num_heads=row.num_heads,
        last_block_indexes=row.last_block_indexes,
        **options,
    )
    return Recognizer(backbone, CLASSES)


def build_theirs(name: str, ours: Recognizer) -> Theirs:
    """Their model of that name, with our weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.pth"
        torch.save({"model": ours.state_dict()}, path)
        target = "torchvision" if name == "clip" else "timm"
        weights, _, _ = express(read_weights(path), target)
    if name == "clip":
        network = mvit_v2_s(num_classes=CLASSES, dropout=0.0, stochastic_depth_prob=0.0)
    else:
        network = timm.create_model(TIMM[name], num_classes=CLASSES)
    network.load_state_dict(weights)
    return Theirs(network)


def measure(name: str, args: argparse.Namespace) -> list[str]:
    """A row of the table: our times, and theirs over ours."""
    torch.manual_seed(0)
    device = torch.device(args.device)
    ours = build_ours(name)
    models = {"ours": ours, "theirs": build_theirs(name, ours)}
    models = {key: model.to(device).eval() for key, model in models.items()}
    batch = {
        "inputs": torch.randn(args.batch, 3, *ours.backbone.input_size, device=device),
        "labels": torch.randint(CLASSES, (args.batch,), device=device),
    }
    with torch.no_grad():
        torch.testing.assert_close(*(model(batch) for model in models.values()))
    results = timing.measure(models, (batch, batch), args.repeats, device, name)
    ratios = timing.compare(results)["theirs / ours"]
    row = [name]
    for key in timing.TIMES:
        row += [f"{1e3 * statistics.median(results['ours'][key]):.1f}"]
        row += ["{median:.2f} ({min:.2f}-{max:.2f})".format(**ratios[key])]
    return row + [f"{ratios[key]:.2f}" for key in timing.SIZES]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=[*TIMM, "clip"], default=["T", "S", "B"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    columns = ["", "forward, ms", "theirs / ours", "training step, ms", "theirs / ours"]
    columns += ["forward peak", "training peak", "saved for backward"]
    rows = [measure(name, args) for name in args.models]
    print(
        f"\nBatch {args.batch}, {args.device}, {torch.get_num_threads()} threads; ratios of medians"
    )
    print("(smallest-largest of the rounds); above 1, ours is faster or smaller")
    print(tabulate(rows, columns, disable_numparse=True))


if __name__ == "__main__":
    main()
