"""The base class of augmentations, sequences of them, and their input."""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList


class AugInput:
    """The input of augmentations, which they change in place.

    ``image`` is (H, W) or (H, W, C), bytes 0..255 or floats; ``boxes`` are (N, 4) XYXY in pixels or
    None, ``sem_seg`` is (H, W), labels of pixels, or None.

    Raises:
        AssertionError: the image is not such an array.
    """

    def __init__(self, image: np.ndarray, *, boxes: Any = None, sem_seg: Any = None):
        assert isinstance(image, np.ndarray), f"The image is a {type(image)}, not a numpy array."
        assert image.ndim in (2, 3), f"The image has shape {image.shape}, not (H, W[, C])."
        self.image, self.boxes, self.sem_seg = image, boxes, sem_seg

    def transform(self, tfm: Transform) -> None:
        """Apply ``tfm`` to the image, the boxes and the labels in place."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)


class Augmentation:
    """A random (or input-dependent) choice of a transform.

    A subclass implements ``get_transform``, whose parameters are named as the attributes of
    `AugInput` that it needs: ``get_transform(self, image)``, or ``(self, image, boxes)``. Random
    numbers come from the global generator of numpy.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # attributes are set by _init

    def get_transform(self, *args: Any) -> Transform:
        """Choose the transform for one input."""
        raise NotImplementedError(f"{type(self).__name__} has no get_transform.")

    def __call__(self, aug_input: AugInput) -> Transform:
        """Choose a transform, apply it to ``aug_input`` in place, and return it."""
        names = inspect.signature(self.get_transform).parameters
        tfm = self.get_transform(*(getattr(aug_input, name) for name in names))
        aug_input.transform(tfm)
        return tfm

    def _init(self, params: dict[str, Any] | None = None) -> None:
        """Set the arguments of the constructor as attributes: ``self._init(locals())``."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def _rand_range(self, low: float = 1.0, high: float | None = None, size: Any = None) -> Any:
        """Draw uniformly from ``low`` .. ``high``, or from 0 .. ``low``."""
        low, high = (0.0, low) if high is None else (low, high)
        return np.random.uniform(low, high, size)

    def __repr__(self) -> str:
        """Return the call of the constructor, without arguments that have their default value."""
        arguments = []
        for parameter in inspect.signature(type(self)).parameters.values():
            value = getattr(self, parameter.name, parameter.default)
            if value is not parameter.default:
                arguments.append(f"{parameter.name}={value!r}")
        return f"{type(self).__name__}({', '.join(arguments)})"


def apply(tfm_or_aug: Augmentation | Transform, aug_input: AugInput) -> Transform:
    """Apply an augmentation or a transform in place; return the applied transform."""
    if isinstance(tfm_or_aug, Augmentation):
        return tfm_or_aug(aug_input)
    aug_input.transform(tfm_or_aug)
    return tfm_or_aug


class AugmentationList(Augmentation):
    """Apply augmentations and transforms in sequence."""

    def __init__(self, augs: Sequence[Augmentation | Transform]):
        self.augs = list(augs)

    def __call__(self, aug_input: AugInput) -> TransformList:
        """Apply all to ``aug_input`` in place; return the transforms."""
        return TransformList([apply(aug, aug_input) for aug in self.augs])
