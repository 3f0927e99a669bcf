"""Base class of the mappers from an item of a data set to samples of images or clips."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from mvit_det.data.bad_samples import BadSamples
from mvit_det.errors import UserError


class MapperFault(RuntimeError):
    """A step failed on a file that can be read: an error in the program, never skipped."""


class SampleMapper(ABC):
    """Reads an item, and transforms it once or several times; bad files are skipped.

    Each bad file is logged once. In training the result is None, and `build_train_loader` takes
    another item, until there are too many (see `BadSamples`). In testing "inputs" are zeros and
    "unreadable" is the reason (None for a good file), so that evaluators can leave the sample out
    and count it.

    Args:
        is_train: training or testing, as above.
        transform: of what `read` returns; see the subclasses.
        max_bad_share: largest share (0..1) of bad files that is skipped in training.
        min_seen: requests before the share is checked, if it is above 0.
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
        self.bad_samples = BadSamples(self.kind, is_train, max_bad_share, min_seen, self.in_testing)

    @abstractmethod
    def read(self, item: dict[str, Any]) -> Any:
        """Read the transform's argument from the files of an item.

        Any exception except `MapperFault` and `UserError` means a bad file.
        """

    @abstractmethod
    def blank(self) -> Any:
        """Return a small substitute for the result of `read`, for a bad file in testing."""

    def name(self, item: dict[str, Any]) -> str:
        """Return the name of an item for counting and for messages."""
        return item["file_name"]

    def known(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return the entries of a sample that come from its item, without reading a file."""
        return {"labels": item["label"], "file_name": item["file_name"]}

    def transformed(self, found: Any, item: dict[str, Any]) -> dict[str, Any]:
        """Transform the result of `read` to entries of a sample: "inputs", a tensor."""
        return {"inputs": self.transform(found)}

    def __call__(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """Return one sample: "inputs", the entries of `known`, and in testing "unreadable".

        None: the file is bad, in training.

        Raises:
            MapperFault: the transform fails on a file that can be read.
            UserError: in training, too many files are bad.
        """
        samples = self.repeated(item, 1)
        return samples[0] if samples else None

    def repeated(self, item: dict[str, Any], count: int) -> list[dict[str, Any]] | None:
        """Return ``count`` samples of one item, which is read once and transformed for each.

        In training, the result is None for a file that cannot be read, which is counted and logged;
        in evaluation, its samples are zeros, and "unreadable" is the reason.

        Raises:
            MapperFault: the transform fails on a file that can be read.
            UserError: in training, too many files are bad.
        """
        name = self.name(item)
        self.bad_samples.count_request(name)
        known = self.known(item)
        if not self.is_train:
            known["unreadable"] = None
        try:
            found = self.read(item)
        except (MapperFault, UserError):
            raise
        except Exception as error:  # decoders fail in many ways
            reason = str(error) or type(error).__name__
            self.bad_samples.add(name, "", reason, file_name=item["file_name"])
            if self.is_train:
                return None
            sample = self.transformed(self.blank(), item)
            sample["inputs"] = torch.zeros_like(sample["inputs"])
            return [{**sample, **known, "unreadable": reason} for _ in range(count)]
        try:
            return [{**self.transformed(found, item), **known} for _ in range(count)]
        except Exception as error:
            raise self.fault(item, "its transform", error) from error

    def fault(self, item: dict[str, Any], step: str, error: Exception) -> MapperFault:
        """Build the error for a step that fails after reading: ``step`` in words, its cause."""
        return MapperFault(
            f"{self.kind.capitalize()} {self.name(item)} reads well, but {step} failed: "
            f"{type(error).__name__}: {error}"
        )
