"""From an item of a data set to samples: what images, clips and clips with boxes have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from mvit_det.data.bad_samples import BadSamples
from mvit_det.errors import UserError


class MapperFault(RuntimeError):
    """Something failed on a file that reads well: a fault of the program, which must not pass."""


class SampleMapper(ABC):
    """Reads an item, and transforms it once or several times; bad files are survived.

    Each bad file is logged once. In training the result is None, for which `build_train_loader`
    takes another item, until there are too many (see `BadSamples`). In testing its "inputs" are zeros
    and "unreadable" tells the reason, so that evaluators can leave it out and count it.

    Args:
        transform: of what was read; see the classes that read.
        max_bad_share, min_seen: the largest share of bad ones, and from how many on it is judged.
    """

    kind: ClassVar[str]
    in_testing: ClassVar[str] = "left out of the accuracy"

    def __init__(
        self,
        is_train: bool,
        *,
        transform: Callable[..., Any],
        max_bad_share: float = 0.1,
        min_seen: int = 100,
    ):
        self.is_train = is_train
        self.transform = transform
        self.unusable = BadSamples(self.kind, is_train, max_bad_share, min_seen, self.in_testing)

    @abstractmethod
    def read(self, item: dict[str, Any]) -> Any:
        """What the transform takes; anything but `MapperFault` and `UserError` is a bad file."""

    @abstractmethod
    def blank(self) -> Any:
        """Of the kind that `read` gives, and small."""

    def name(self, item: dict[str, Any]) -> str:
        """What good and bad ones are counted by, and what messages call it."""
        return item["file_name"]

    def known(self, item: dict[str, Any]) -> dict[str, Any]:
        """What a sample has of its item, which needs no reading."""
        return {"labels": item["label"], "file_name": item["file_name"]}

    def transformed(self, found: Any, item: dict[str, Any]) -> dict[str, Any]:
        """What a sample has of what was read: "inputs", a tensor."""
        return {"inputs": self.transform(found)}

    def __call__(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """One sample: "inputs", what is `known`, and in testing "unreadable"."""
        samples = self.repeated(item, 1)
        return samples and samples[0]

    def repeated(self, item: dict[str, Any], count: int) -> list[dict[str, Any]] | None:
        """``count`` samples of one item, which is read once and augmented anew for each."""
        name = self.name(item)
        self.unusable.asked_for(name)
        known = self.known(item)
        if not self.is_train:
            known["unreadable"] = None
        try:
            found = self.read(item)
        except (MapperFault, UserError):
            raise
        except Exception as error:  # decoders fail in many ways
            reason = str(error) or type(error).__name__
            self.unusable.add(name, "", reason, file_name=item["file_name"])
            if self.is_train:
                return None
            made = self.transformed(self.blank(), item)
            made["inputs"] = torch.zeros_like(made["inputs"])
            return [{**made, **known, "unreadable": reason} for _ in range(count)]
        try:
            return [{**self.transformed(found, item), **known} for _ in range(count)]
        except Exception as error:
            raise self.fault(item, "its transform", error) from error

    def fault(self, item: dict[str, Any], step: str, error: Exception) -> MapperFault:
        """What to raise where a step after the reading has failed."""
        return MapperFault(
            f"{self.kind.capitalize()} {self.name(item)} reads well, but {step} failed: "
            f"{type(error).__name__}: {error}"
        )
