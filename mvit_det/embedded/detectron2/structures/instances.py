"""What is known about the objects in one image: fields of equal length."""

import itertools
from typing import Any, NoReturn, Sequence

import numpy as np
import torch


def _concatenate(name: str, values: list[Any]) -> Any:
    """Join one field's values; the type of the first decides how."""
    kind = type(values[0])
    if issubclass(kind, torch.Tensor):
        return torch.cat(values)
    if hasattr(kind, "cat"):
        return kind.cat(values)
    if issubclass(kind, list):
        return list(itertools.chain.from_iterable(values))
    raise ValueError(f"Cannot concatenate field '{name}': it is of type {kind.__name__}.")


class Instances:
    """N objects of one image, with any number of fields of length N, read and set as attributes::

        instances = Instances((480, 640), pred_boxes=boxes)
        instances.scores = scores
        confident = instances[instances.scores > 0.5]  # every field is indexed

    Usual fields: ``gt_boxes``, ``gt_classes``, ``gt_masks``, ``proposal_boxes``,
    ``objectness_logits``, ``pred_boxes``, ``scores``, ``pred_classes``, ``pred_masks``.
    Names with a leading underscore are plain attributes, not fields.
    """

    def __init__(self, image_size: tuple[int, int], **kwargs: Any):
        """Args: ``image_size`` is (height, width); the keyword arguments are the first fields."""
        self._fields: dict[str, Any] = {}
        self._image_size = image_size
        for field in kwargs:
            self.set(field, kwargs[field])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image; fixed."""
        return self._image_size

    def __setattr__(self, name: str, val: Any) -> None:
        if name[:1] == "_":
            object.__setattr__(self, name, val)
        else:
            self.set(name, val)

    def __getattr__(self, name: str) -> Any:
        # Reached only where ordinary lookup failed. `vars`, not `self._fields`: while an object is
        # being unpickled there is no `_fields` yet, and looking it up would recurse.
        fields = vars(self).get("_fields", {})
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise AttributeError(f"These Instances have no field '{name}'; they have: {known}.")
        return fields[name]

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field. Its length must be that of the others."""
        if name == "image_size":
            raise AttributeError("image_size is fixed: make new Instances to change it.")
        length = len(value)
        if self._fields and length != len(self):
            raise AssertionError(
                f"Field '{name}' has length {length}, but there are {len(self)} instances."
            )
        self._fields[name] = value

    def has(self, name: str) -> bool:
        return name in self._fields

    def get(self, name: str) -> Any:
        """A field by name; KeyError if there is none."""
        return self._fields[name]

    def remove(self, name: str) -> None:
        """Drop a field; KeyError if there is none."""
        self._fields.pop(name)

    def get_fields(self) -> dict[str, Any]:
        """Names and values of all fields: the dict itself, not a copy."""
        return self._fields

    def _with_fields(self, fields: dict[str, Any]) -> "Instances":
        return Instances(self._image_size, **fields)

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """New instances whose fields were moved by their own ``to``, if they have one."""
        return self._with_fields(
            {
                name: value.to(*args, **kwargs) if hasattr(value, "to") else value
                for name, value in self._fields.items()
            }
        )

    def __getitem__(self, item: int | slice | torch.Tensor | np.ndarray | list) -> "Instances":
        """Index every field. An integer gives ``Instances`` of length 1."""
        if isinstance(item, int):
            count = len(self)
            if not -count <= item < count:
                raise IndexError(f"Index {item} is out of range for {count} instances.")
            item = slice(item % count, item % count + 1)
        return self._with_fields({name: value[item] for name, value in self._fields.items()})

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Instances without fields have no length.")

    def __iter__(self) -> NoReturn:
        raise NotImplementedError("Instances cannot be iterated: index them, or iterate a field.")

    @staticmethod
    def cat(instance_lists: Sequence["Instances"]) -> "Instances":
        """Join instances of one image that have the same fields."""
        assert instance_lists, "Cannot concatenate no Instances."
        assert all(isinstance(part, Instances) for part in instance_lists), "Expected Instances."
        if len(instance_lists) == 1:
            return instance_lists[0]
        sizes = {tuple(part.image_size) for part in instance_lists}
        assert len(sizes) == 1, f"Cannot join instances of images of different sizes: {sizes}."
        first = instance_lists[0]
        return first._with_fields(
            {
                name: _concatenate(name, [part.get(name) for part in instance_lists])
                for name in first.get_fields()
            }
        )

    def __repr__(self) -> str:
        height, width = self._image_size
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return (
            f"Instances(num_instances={len(self)}, image_height={height}, image_width={width}, "
            f"fields=[{fields}])"
        )
