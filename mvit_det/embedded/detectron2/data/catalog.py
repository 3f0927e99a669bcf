"""Data sets by name: how to load one (DatasetCatalog) and what it is about (MetadataCatalog)."""

from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class _DatasetCatalog(UserDict):
    """Maps a name to a function without arguments that returns the data set's list of dicts."""

    def register(self, name: str, func: Callable[[], list[dict[str, Any]]]) -> None:
        """Let ``func`` load the data set ``name``; a name can be given only once."""
        assert callable(func), f"Dataset {name!r} needs a function that loads it, not {func!r}."
        assert name not in self, f"Dataset {name!r} is registered already: choose another name."
        self[name] = func

    def get(self, name: str) -> list[dict[str, Any]]:
        """Load the data set.

        Raises:
            KeyError: nobody registered this name.
        """
        if name not in self:
            raise KeyError(
                f"Dataset {name!r} is not registered; these are: {', '.join(self) or 'none'}."
            )
        return self[name]()

    def list(self) -> list[str]:
        """All names, in the order of registration."""
        return [*self]

    def remove(self, name: str) -> None:
        """Forget the data set."""
        del self[name]


class Metadata(SimpleNamespace):
    """What is known of one data set, as attributes that can be set only once.

    Attributes:
        name: the data set's name.
        thing_classes: names of the classes, by contiguous id.
        thing_colors: one (R, G, B) of 0..255 per class.
        thing_dataset_id_to_contiguous_id: from the ids in the annotation file to 0..classes-1.
        json_file, image_root, evaluator_type: as `register_coco_instances` sets them.
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

    def as_dict(self) -> dict[str, Any]:
        """A copy of all attributes."""
        return dict(vars(self))

    def set(self, **kwargs: Any) -> "Metadata":
        """Set several attributes; returns itself."""
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """The attribute, or ``default`` where it is not set."""
        return vars(self).get(key, default)


class _MetadataCatalog(UserDict):
    """Maps a name to its `Metadata`."""

    def get(self, name: str) -> Metadata:
        """The metadata of ``name``; made on the first call."""
        assert name, "A data set without a name has no metadata."
        return self.setdefault(name, Metadata(name=name))

    def list(self) -> list[str]:
        """All names, in the order of registration."""
        return [*self]

    def remove(self, name: str) -> None:
        """Forget the metadata."""
        del self[name]


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
