"""From an item of a data set to samples: what images and clips have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from mvit_det.data.unusable import Unusable
from mvit_det.errors import UserError


class MapperFault(RuntimeError):
    """Something failed on a file that reads well: a fault of the program, which must not pass."""


class SampleMapper(ABC):
    """Reads an item, and transforms it once or several times; bad files are survived.

    Each bad file is logged once. In training the result is None, for which `build_train_loader`
    takes another item, until there are too many (see `Unusable`). In testing its "inputs" are zeros
    and "unreadable" tells the reason, so that evaluators can leave it out and count it.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        is_train: bool,
        transform: Callable[[Any], torch.Tensor],
        max_bad_share: float,
        min_seen: int,
    ):
        self.is_train = is_train
        self.transform = transform
        self.unusable = Unusable(
            self.kind, is_train, max_bad_share, min_seen, "left out of the accuracy"
        )
        self._zeros: torch.Tensor | None = None

    @abstractmethod
    def read(self, item: dict[str, Any]) -> Any:
        """What the transform takes; anything but `MapperFault` and `UserError` is a bad file."""

    @abstractmethod
    def blank(self) -> Any:
        """Of the kind that `read` gives, and small."""

    def __call__(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """One sample: "inputs", "labels", "file_name", and in testing "unreadable"."""
        samples = self.repeated(item, 1)
        return samples and samples[0]

    def repeated(self, item: dict[str, Any], count: int) -> list[dict[str, Any]] | None:
        """``count`` samples of one item, which is read once and augmented anew for each."""
        file_name = item["file_name"]
        self.unusable.asked_for(file_name)
        known = {"labels": item["label"], "file_name": file_name}
        if not self.is_train:
            known["unreadable"] = None
        try:
            found = self.read(item)
        except (MapperFault, UserError):
            raise
        except Exception as error:  # decoders fail in many ways
            reason = str(error) or type(error).__name__
            self.unusable.add(file_name, "", reason)
            if self.is_train:
                return None
            if self._zeros is None:
                self._zeros = torch.zeros_like(self.transform(self.blank()))
            return [{"inputs": self._zeros, **known, "unreadable": reason} for _ in range(count)]
        return [{"inputs": self._transformed(found, file_name), **known} for _ in range(count)]

    def _transformed(self, found: Any, file_name: str) -> torch.Tensor:
        try:
            return self.transform(found)
        except Exception as error:
            raise MapperFault(
                f"{self.kind.capitalize()} {file_name} reads well, but its transform failed: "
                f"{type(error).__name__}: {error}"
            ) from error
