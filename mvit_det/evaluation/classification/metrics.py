"""Accuracy from the best classes per image. Letters: N images, K classes, k <= K best ones."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# number of best classes that are kept per image, and that count for "top5"
TOP = 5


def best_classes(scores: Tensor, count: int = TOP) -> tuple[Tensor, Tensor]:
    """Return the ``min(count, K)`` highest of finite scores (B, K), best first, and their classes.

    Equal scores are in ascending order of the class index, as in a stable sort. `Tensor.topk`
    guarantees no order, and a sort of 19168 classes takes 50 times as long.
    """
    rest = scores.clone()
    classes = []
    for _ in range(min(count, scores.shape[1])):
        classes.append(rest.argmax(dim=1, keepdim=True))  # the first of equal scores
        rest.scatter_(1, classes[-1], -torch.inf)
    chosen = torch.cat(classes, dim=1)
    return scores.gather(1, chosen), chosen


@dataclass(frozen=True)
class Predictions:
    """The predictions of a classifier for N images.

    Attributes:
        names: unique_names names of the K classes.
        file_name: (N,) str.
        label: (N,) indices of the true classes.
        classes: (N, k) indices of the predicted classes, best first.
        scores: (N, k) their scores.
        kind: what is classified, for tables and pictures.
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
    def right(self) -> np.ndarray:
        """(N,) whether the best class is the true one."""
        return self.classes[:, 0] == self.label

    def deduplicate(self) -> "Predictions":
        """Sort by file name, and drop images that came several times (as padding)."""
        order = np.lexsort((self.classes[:, 0], self.scores[:, 0], self.label, self.file_name))
        name, label = self.file_name[order], self.label[order]
        first = np.ones(len(order), bool)
        first[1:] = (name[1:] != name[:-1]) | (label[1:] != label[:-1])
        rows = order[first]
        columns = (self.file_name, self.label, self.classes, self.scores)
        return Predictions(self.names, *(column[rows] for column in columns), kind=self.kind)

    def mistakes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the wrong pairs (true, predicted, count), the most frequent first."""
        wrong = ~self.right
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
        first: (K,) number of them whose best class is the true one.
        among_five: (K,) the same for the five best classes; equal to ``images`` if K <= 5.
    """

    images: np.ndarray
    first: np.ndarray
    among_five: np.ndarray

    @property
    def top1(self) -> np.ndarray:
        """(K,) in percent, NaN for a class without images."""
        return self._share(self.first)

    @property
    def top5(self) -> np.ndarray:
        """(K,) in percent, NaN for a class without images."""
        return self._share(self.among_five)

    def _share(self, hits: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return 100.0 * hits / self.images

    def worst_first(self) -> np.ndarray:
        """Return the classes that have images by accuracy; if equal, the larger one first."""
        return np.lexsort((-self.images, self.top1))[: np.count_nonzero(self.images)]

    def summary(self) -> dict[str, float]:
        """Return in percent the accuracy of all images, and its mean over classes with images."""
        total = self.images.sum()
        return {
            "top1": float(100.0 * self.first.sum() / total),
            "top5": float(100.0 * self.among_five.sum() / total),
            "mean_class_accuracy": float(np.nanmean(self.top1)),
        }


def compute_accuracy(predictions: Predictions) -> Accuracy:
    """Count by class; there must be at least one image."""
    label, count = predictions.label, len(predictions.names)
    among = (predictions.classes[:, :TOP] == label[:, None]).any(axis=1)
    return Accuracy(
        images=np.bincount(label, minlength=count),
        first=np.bincount(label[predictions.right], minlength=count),
        among_five=np.bincount(label[among], minlength=count),
    )


def unique_names(names: Sequence[str]) -> list[str]:
    """Make names unique, as metrics need: ImageNet has two kinds of "crane"."""
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(names)]
