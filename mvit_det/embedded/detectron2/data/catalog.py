"""Datasets by name: how to load one (DatasetCatalog), and its metadata (MetadataCatalog)."""

from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class _Catalog(UserDict[str, Any]):
    def list(self) -> list[str]:
        """Return all names, in the order of registration."""
        return [*self]

    def remove(self, name: str) -> None:
        """Remove the entry of ``name``."""
        del self[name]


class _DatasetCatalog(_Catalog):
    """Map a name to a function without arguments that returns the dicts of a data set."""

    def register(self, name: str, func: Callable[[], list[dict[str, Any]]]) -> None:
        """Let ``func`` load the data set ``name``.

        Raises:
            AssertionError: ``func`` is not callable, or the name is registered already.
        """
        assert callable(func), f"Dataset {name!r} needs a function that loads it, not {func!r}."
        assert name not in self, f"Dataset {name!r} is registered already: choose another name."
        self[name] = func

    def get(self, name: str) -> list[dict[str, Any]]:  # type: ignore[override]  # Detectron2's
        """Load the data set; KeyError for an unknown name."""
        if name not in self:
            names = ", ".join(self) or "none"
            raise KeyError(f"Dataset {name!r} is not registered; registered: {names}.")
        return self[name]()


class Metadata(SimpleNamespace):
    """Metadata of one data set, as attributes that can be set only once.

    ``thing_classes`` are the names of the classes by contiguous id, 0..classes-1, and
    ``thing_dataset_id_to_contiguous_id`` maps the ids of the annotation file to contiguous ids.
    """

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        raise AttributeError(
            f"The metadata of dataset {self.name!r} has no {key!r}, only {', '.join(vars(self))}: "
            "load the data set first, or set it."
        )

    def __setattr__(self, key: str, value: Any) -> None:
        assert vars(self).get(key, value) == value, (
            f"{key!r} of dataset {self.name!r} is {vars(self)[key]!r} already and cannot become "
            f"{value!r}: register the data under another name."
        )
        super().__setattr__(key, value)

    def set(self, **kwargs: Any) -> "Metadata":
        """Set several attributes and return this object; AssertionError if one changes."""
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """Return the attribute, or ``default`` if it is not set."""
        return vars(self).get(key, default)


class _MetadataCatalog(_Catalog):
    def get(self, name: str) -> Metadata:  # type: ignore[override]  # Detectron2's signature
        """Return the metadata of ``name``; the first call creates them."""
        assert name, "A data set without a name has no metadata."
        return self.setdefault(name, Metadata(name=name))


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
