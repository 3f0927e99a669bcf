"""Accuracy from the best classes of each image. Letters: N images, K classes, k <= K best ones."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# how many classes of an image are kept, and how far down the right one may stand for "top5"
TOP = 5


def best_classes(scores: Tensor, count: int = TOP) -> tuple[Tensor, Tensor]:
    """The ``min(count, K)`` highest of finite scores (B, K), best first, and their classes.

    Of equal scores the class of the lower number comes first, as in a stable sort. `Tensor.topk`
    promises no order among them, and a sort of 19168 classes takes 50 times as long.
    """
    rest = scores.clone()
    classes = []
    for _ in range(min(count, scores.shape[1])):
        classes.append(rest.argmax(dim=1, keepdim=True))  # of equal ones the first
        rest.scatter_(1, classes[-1], -torch.inf)
    chosen = torch.cat(classes, dim=1)
    return scores.gather(1, chosen), chosen


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of N images; one row each.

    Attributes:
        names: of the K classes, each another.
        file_name: (N,) of str.
        label: (N,) the true classes.
        classes: (N, k) the predicted ones, best first.
        scores: (N, k) theirs.
        kind: what they are of, for tables and pictures.
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

    def each_once(self) -> "Predictions":
        """Sorted by file name, with an image that came several times (as padding) counted once."""
        order = np.lexsort((self.classes[:, 0], self.scores[:, 0], self.label, self.file_name))
        name, label = self.file_name[order], self.label[order]
        first = np.ones(len(order), bool)
        first[1:] = (name[1:] != name[:-1]) | (label[1:] != label[:-1])
        rows = order[first]
        columns = (self.file_name, self.label, self.classes, self.scores)
        return Predictions(self.names, *(column[rows] for column in columns), kind=self.kind)

    def mistakes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which class was taken for which: (true, predicted, how often), the most frequent first."""
        wrong = ~self.right
        pairs = self.label[wrong].astype(np.int64) * len(self.names) + self.classes[wrong, 0]
        pair, count = np.unique(pairs, return_counts=True)
        order = np.argsort(-count, kind="stable")
        true, predicted = np.divmod(pair[order], len(self.names))
        return true, predicted, count[order]


@dataclass(frozen=True)
class Accuracy:
    """Of each of the K classes: its images, and how many have it first, and among the first five.

    With five classes or fewer it is always among the first five.
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
        """The classes that have images by accuracy; of equal ones that of more images first."""
        return np.lexsort((-self.images, self.top1))[: np.count_nonzero(self.images)]

    def summary(self) -> dict[str, float]:
        """In percent: of all images; and the mean over the classes that have images."""
        total = self.images.sum()
        return {
            "top1": float(100.0 * self.first.sum() / total),
            "top5": float(100.0 * self.among_five.sum() / total),
            "mean_class_accuracy": float(np.nanmean(self.top1)),
        }


def measure(predictions: Predictions) -> Accuracy:
    """Count by class; ``predictions`` has at least one image."""
    label, count = predictions.label, len(predictions.names)
    among = (predictions.classes[:, :TOP] == label[:, None]).any(axis=1)
    return Accuracy(
        images=np.bincount(label, minlength=count),
        first=np.bincount(label[predictions.right], minlength=count),
        among_five=np.bincount(label[among], minlength=count),
    )


def distinct(names: Sequence[str]) -> list[str]:
    """Names that occur once; ImageNet has two kinds of "crane", and metrics need one name each."""
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(names)]
