"""Golden layout of MMAction2's test dumps, and accuracies that its tools compute from one.

    python tests/golden/make_dump_metrics.py

needs MMAction2 importable, from a clone of github.com/open-mmlab/mmaction2 (at 4d6c934), and writes
``dump_metrics.json`` beside this script: type, dtype and shape of each entry of a sample as its
models return it, and what its metrics compute offline from the seeded scene below, as its
``tools/analysis_tools/eval_metric.py`` and ``confusion_matrix.py`` do.

Tests import the functions of the first half; the second half is the generator.
"""

import json
import re
from pathlib import Path

import numpy as np

METRICS = Path(__file__).resolve().parent / "dump_metrics.json"
COMMAND = "python tests/golden/make_dump_metrics.py (with MMAction2)"
VIDEOS, CLIPS, CROPS, CLASSES = 240, 3, 2, 12
ABSENT = 5  # a class that a second scene lacks


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) of all classes, and probabilities (N, clips, crops, K) float32."""
    stream = np.random.RandomState(2022)
    # of different frequencies, so that mean class accuracy differs from top-1
    labels = (CLASSES * np.sqrt(np.arange(VIDEOS) / VIDEOS)).astype(int)
    labels = stream.permutation(labels)
    logits = stream.standard_normal((VIDEOS, CLIPS, CROPS, CLASSES))
    logits[np.arange(VIDEOS), :, :, labels] += 0.5
    scores = np.exp(logits)
    return labels, (scores / scores.sum(axis=-1, keepdims=True)).astype(np.float32)


def describe_sample(sample: dict) -> dict[str, list]:
    """Type of each entry of a dumped sample, of tensors with dtype and axes."""
    return {
        name: [type(value).__name__, str(value.dtype), value.ndim]
        if hasattr(value, "dtype")
        else [type(value).__name__]
        for name, value in sorted(sample.items())
    }


# ------------------------------------------------------------------------------- the generator


def make_samples(labels: np.ndarray, scores: np.ndarray) -> list[dict]:
    """Samples (N) as MMAction2's heads fill them, as dicts."""
    import torch
    from mmaction.structures import ActionDataSample

    samples = []
    for label, score in zip(labels.tolist(), torch.from_numpy(scores)):
        sample = ActionDataSample().set_gt_label(label).set_pred_score(score)
        samples.append(sample.set_pred_label(score.argmax(dim=0, keepdim=True)).to_dict())
    return samples


def offline(samples: list[dict]) -> dict[str, float]:
    """Evaluate with MMAction2's metrics."""
    from mmaction.evaluation import AccMetric
    from mmengine.evaluator import Evaluator

    return {name: float(v) for name, v in Evaluator(AccMetric()).offline_evaluate(samples).items()}


def main() -> None:
    """Compute everything and write the file."""
    from mmaction.evaluation import ConfusionMatrix
    from mmengine.evaluator import Evaluator

    labels, views = scene()
    scores = views.astype(np.float64).mean(axis=(1, 2)).astype(np.float32)
    samples = make_samples(labels, scores)
    confusion = Evaluator(ConfusionMatrix()).offline_evaluate(samples)
    content = {
        "command": COMMAND,
        "sample": describe_sample(samples[0]),
        "accuracy": offline(samples),
        "confusion": confusion["confusion_matrix/result"].tolist(),
        "without_a_class": offline([s for s in samples if s["gt_label"].item() != ABSENT]),
    }
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda found: json.dumps(json.loads(found[0])), text)
    METRICS.write_text(text + "\n")


if __name__ == "__main__":
    main()
