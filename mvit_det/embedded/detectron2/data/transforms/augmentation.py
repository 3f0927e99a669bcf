"""What an augmentation is, how several are chained, and what they work on."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList


class Augmentation:
    """A random (or input-dependent) choice of a transform.

    A subclass implements ``get_transform`` and names, as its parameters, the attributes of
    `AugInput` that the choice needs: ``get_transform(self, image)``, or ``(self, image, boxes)``.
    All random numbers come from numpy's global generator.
    """

    def get_transform(self, *args: Any) -> Transform:
        """Choose the transform for one input."""
        raise NotImplementedError(f"{type(self).__name__} has no get_transform.")

    def __call__(self, aug_input: "AugInput") -> Transform:
        """Choose a transform, apply it to ``aug_input`` in place, and return it."""
        tfm = self.get_transform(*self._wanted(aug_input))
        aug_input.transform(tfm)
        return tfm

    def _wanted(self, aug_input: "AugInput") -> list[Any]:
        """The attributes that ``get_transform`` asks for; a bare ``*args`` means the image."""
        parameters = inspect.signature(self.get_transform).parameters.values()
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return [aug_input.image]
        names = [p.name for p in parameters if p.default is p.empty]
        missing = [name for name in names if not hasattr(aug_input, name)]
        if missing:
            raise AttributeError(
                f"{type(self).__name__}.get_transform asks for {', '.join(missing)}, which a "
                f"{type(aug_input).__name__} does not have: rename the parameter."
            )
        return [getattr(aug_input, name) for name in names]

    def _init(self, params: dict[str, Any] | None = None) -> None:
        """Keep the constructor's arguments as attributes: ``self._init(locals())``."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def _rand_range(
        self, low: float = 1.0, high: float | None = None, size: Sequence[int] | None = None
    ) -> float | np.ndarray:
        """Draw uniformly from [low, high), or from [0, low) without ``high``."""
        bounds = (0, low) if high is None else (low, high)
        return np.random.uniform(*bounds, [] if size is None else size)

    def __repr__(self) -> str:
        """The constructor's call, without arguments that have their default value."""
        shown = []
        for parameter in inspect.signature(type(self).__init__).parameters.values():
            value = getattr(self, parameter.name, parameter.default)
            if parameter.name != "self" and value is not parameter.default:
                shown.append(f"{parameter.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class _Fixed(Augmentation):
    """An augmentation that always chooses the same transform."""

    def __init__(self, tfm: Transform):
        self.tfm = tfm

    def get_transform(self, *args: Any) -> Transform:
        return self.tfm

    def __repr__(self) -> str:
        return repr(self.tfm)


def as_augmentation(tfm_or_aug: Augmentation | Transform) -> Augmentation:
    """Let a transform stand where an augmentation is wanted."""
    if isinstance(tfm_or_aug, Augmentation):
        return tfm_or_aug
    assert isinstance(
        tfm_or_aug, Transform
    ), f"{tfm_or_aug!r} is neither an Augmentation nor a Transform."
    return _Fixed(tfm_or_aug)


class AugmentationList(Augmentation):
    """Augmentations applied one after the other, each to what the one before it made."""

    def __init__(self, augs: Sequence[Augmentation | Transform]):
        self.augs = [as_augmentation(aug) for aug in augs]

    def __call__(self, aug_input: "AugInput") -> TransformList:
        return TransformList([aug(aug_input) for aug in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(map(repr, self.augs))}]"


class AugInput:
    """What augmentations look at and change.

    Attributes:
        image: (H, W) or (H, W, C); bytes 0..255, or floats in any range.
        boxes: (N, 4) XYXY in pixels, or None.
        sem_seg: (H, W) labels, or None.
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
    ):
        assert isinstance(image, np.ndarray), f"The image is a {type(image)}, not a numpy array."
        assert image.ndim in (2, 3), f"The image has shape {image.shape}, not (H, W[, C])."
        self.image, self.boxes, self.sem_seg = image, boxes, sem_seg

    def transform(self, tfm: Transform) -> None:
        """Apply ``tfm`` to all attributes in place."""
        for name, method in dict(image="image", boxes="box", sem_seg="segmentation").items():
            if getattr(self, name) is not None:
                setattr(self, name, getattr(tfm, f"apply_{method}")(getattr(self, name)))

    def apply_augmentations(
        self, augmentations: Sequence[Augmentation | Transform]
    ) -> TransformList:
        """Apply them in order and return the transforms that they chose."""
        return AugmentationList(augmentations)(self)
