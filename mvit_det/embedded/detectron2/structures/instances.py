"""The objects of one image, as fields of equal length."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .whole_batch import BatchSizes, is_exporting


def _concatenate(values: list[Any]) -> Any:
    """Concatenate the values of one field: tensors, lists, or objects of a class with ``cat``."""
    if isinstance(values[0], torch.Tensor):
        return torch.cat(values)
    if isinstance(values[0], list):
        return list(itertools.chain(*values))
    return type(values[0]).cat(values)


class Instances:
    """N objects of one image, with any number of fields of length N as attributes.

    Indexing, as in ``instances[instances.scores > 0.5]``, indexes every field.
    """

    __iter__ = None  # index the instances, or iterate over a field

    def __init__(self, image_size: tuple[int, int], **kwargs: Any):
        vars(self).update(_image_size=image_size, _fields={})  # not fields
        for name in kwargs:
            self.set(name, kwargs[name])

    @property
    def image_size(self) -> tuple[int, int]:
        """Return the (height, width) of the image; it cannot change."""
        return self._image_size

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field; AssertionError for another length than that of other fields."""
        if self._fields and not is_exporting() and len(value) != len(self):
            raise AssertionError(f"Field '{name}' has length {len(value)}, others {len(self)}.")
        self._fields[name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        # not `self._fields`: it does not exist during unpickling, and this would recurse
        fields = vars(self).get("_fields", {})
        if name not in fields:
            raise AttributeError(f"These Instances have no field '{name}', only {list(fields)}.")
        return fields[name]

    def has(self, name: str) -> bool:
        """Return whether there is a field ``name``."""
        return name in self._fields

    def get(self, name: str) -> Any:
        """Return a field; KeyError if it does not exist."""
        return self._fields[name]

    def remove(self, name: str) -> None:
        """Delete a field; KeyError if it does not exist."""
        del self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """Return all fields by name: the dict itself, not a copy."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """Return a copy, whose fields with a ``to`` method are moved to a device."""
        moved = Instances(self._image_size)
        for name, value in self._fields.items():
            moved.set(name, value.to(*args, **kwargs) if hasattr(value, "to") else value)
        return moved

    def __getitem__(self, item: int | slice | torch.Tensor | np.ndarray | list) -> "Instances":
        """Index every field. The result for an integer has length 1."""
        if isinstance(item, int):
            item = range(len(self))[item]  # negative ones too; IndexError beyond the end
            item = slice(item, item + 1)
        size: Any = self._image_size
        size = size[item] if isinstance(size, BatchSizes) else size
        return Instances(size, **{k: v[item] for k, v in self._fields.items()})

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Instances without fields have no length.")

    @staticmethod
    def cat(instance_lists: Sequence["Instances"]) -> "Instances":
        """Concatenate instances of one image that have the same fields.

        Raises:
            AssertionError: different image sizes.
        """
        first = instance_lists[0]
        sizes = {part.image_size for part in instance_lists}
        assert len(sizes) == 1, f"Instances have different image sizes: {sizes}."
        fields = {k: _concatenate([part.get(k) for part in instance_lists]) for k in first._fields}
        return Instances(first.image_size, **fields)

    def __repr__(self) -> str:
        height, width = self._image_size
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return (
            f"Instances(num_instances={len(self)}, image_height={height}, image_width={width}, "
            f"fields=[{fields}])"
        )
