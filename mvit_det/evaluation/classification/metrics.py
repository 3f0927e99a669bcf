"""Accuracy from the best classes per image.

Legend: N images, K classes, k <= K best classes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

# number of best classes that are kept per image, and that count for "top5"
TOP = 5


def best_classes(scores: Tensor, count: int = TOP) -> tuple[Tensor, Tensor]:
    """Return the highest scores of each row, best first, and their class indices.

    Equal scores are in ascending order of the class index, as in a stable sort. `Tensor.topk`
    guarantees no order, and a sort of 19168 classes takes 50 times as long.

    Args:
        scores: (B, K), finite.
        count: number of classes per row.

    Returns:
        (B, k) scores and (B, k) int64 class indices, k = min(count, K).
    """
    rest = scores.clone()
    classes = []
    for _ in range(min(count, scores.shape[1])):
        classes.append(rest.argmax(dim=1, keepdim=True))  # the first of equal scores
        rest.scatter_(1, classes[-1], -torch.inf)
    best = torch.cat(classes, dim=1)
    return scores.gather(1, best), best


@dataclass(frozen=True)
class Predictions:
    """The predictions of a classifier for N images or videos.

    Attributes:
        names: distinct names of the K classes.
        file_name: (N,) str.
        label: (N,) indices of the true classes.
        classes: (N, k) indices of the predicted classes, best first.
        scores: (N, k) their scores.
        kind: "images" or "videos", for tables and pictures.
    """

    names: Sequence[str]
    file_name: np.ndarray
    label: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    kind: str = "images"

    def __len__(self) -> int:
        return len(self.label)

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool, whether the best class is the true one."""
        return self.classes[:, 0] == self.label

    def unique_rows(self) -> np.ndarray:
        """Return the indices of rows by file name and label; duplicates, as samplers pad, once."""
        order = np.lexsort((self.classes[:, 0], self.scores[:, 0], self.label, self.file_name))
        name, label = self.file_name[order], self.label[order]
        first = np.ones(len(order), bool)
        first[1:] = (name[1:] != name[:-1]) | (label[1:] != label[:-1])
        return order[first]

    def select(self, rows: np.ndarray) -> "Predictions":
        """Return the rows of these indices, in their order."""
        columns = ("file_name", "label", "classes", "scores")
        return replace(self, **{column: getattr(self, column)[rows] for column in columns})

    def mistakes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the confused pairs: true class, predicted class, count; three arrays (M,) of int.

        The most frequent pair is first; equal counts are in ascending order of the classes.
        """
        wrong = ~self.correct
        pairs = self.label[wrong].astype(np.int64) * len(self.names) + self.classes[wrong, 0]
        pair, count = np.unique(pairs, return_counts=True)
        order = np.argsort(-count, kind="stable")
        true, predicted = np.divmod(pair[order], len(self.names))
        return true, predicted, count[order]


@dataclass(frozen=True)
class Accuracy:
    """Counts for each of the K classes.

    Attributes:
        images: (K,) number of images.
        correct1: (K,) number of them whose best class is the true one.
        correct5: (K,) the same for the five best classes; equal to ``images`` if K <= 5.
    """

    images: np.ndarray
    correct1: np.ndarray
    correct5: np.ndarray

    @property
    def top1(self) -> np.ndarray:
        """(K,) in percent, NaN for a class without images."""
        return self._percent(self.correct1)

    @property
    def top5(self) -> np.ndarray:
        """(K,) in percent, NaN for a class without images."""
        return self._percent(self.correct5)

    def _percent(self, correct: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return 100.0 * correct / self.images

    def worst_first(self) -> np.ndarray:
        """Return the indices (n,) of classes with images, by rising accuracy, then falling size."""
        return np.lexsort((-self.images, self.top1))[: np.count_nonzero(self.images)]

    def summary(self) -> dict[str, float]:
        """Return top-1 and top-5 accuracy, and the mean of top-1 over classes, in percent."""
        total = self.images.sum()
        return {
            "top1": float(100.0 * self.correct1.sum() / total),
            "top5": float(100.0 * self.correct5.sum() / total),
            "mean_class_accuracy": float(np.nanmean(self.top1)),
        }


def compute_accuracy(predictions: Predictions) -> Accuracy:
    """Count correct predictions by class; there must be at least one image."""
    label, count = predictions.label, len(predictions.names)
    in_top5 = (predictions.classes[:, :TOP] == label[:, None]).any(axis=1)
    return Accuracy(
        images=np.bincount(label, minlength=count),
        correct1=np.bincount(label[predictions.correct], minlength=count),
        correct5=np.bincount(label[in_top5], minlength=count),
    )


def unique_names(names: Sequence[str]) -> list[str]:
    """Append the class index to names that occur repeatedly: ImageNet has "crane" twice."""
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(names)]
