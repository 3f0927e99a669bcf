"""Config and weights -> a function from pictures to detections."""

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.structures import Instances
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn

from mvit_det.data.categories import Category, config_categories, given_categories, numbered
from mvit_det.engine import apply_overrides, build_model, load_config
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.errors import UserError

logger = logging.getLogger(__name__)

# Of a run's output folder, the first that exists: the weights that evaluated best, or the last.
WEIGHTS = ("model_best.pth", "model_final.pth")

# A picture of a more extreme shape is refused: where the config sets the short side alone, it would
# be enlarged beyond any memory, and where it limits the long side, nothing of it would be left.
MAX_ASPECT = 100


class Predictor:
    """The model of a config, ready to detect: ``instances = Predictor(config, weights)(image)``.

    Pictures are resized as the config's test pictures are, and detections are what an evaluation
    of the same picture gives. Of the config's data nothing else is needed, neither files nor
    annotations.

    Args:
        config: a LazyConfig, .py or the config.yaml of a run.
        weights: a checkpoint that fits the model completely; by default the best or else the last
            one beside the config.yaml, or in the config's train.output_dir.
        overrides: ``key=value`` changes to the config.
        device: "cpu", "cuda", "cuda:1", ...; by default the config's, or the CPU where it has CUDA
            and this machine has not.
        score_threshold: detections of a lower score are dropped. At 0 the model's own threshold
            remains (test_score_thresh of its box predictor).
        batch_size: the most pictures that go through the model at once.
        class_names: in the order of the model's outputs, or a file: one name per line, or COCO's
            JSON. By default what the config or its test data tell.

    Attributes:
        categories: {"id", "name"} of each class, as in a COCO file, in the order of
            ``pred_classes``.
    """

    def __init__(
        self,
        config: str | os.PathLike,
        weights: str | os.PathLike | None = None,
        *,
        overrides: Sequence[str] = (),
        device: str | None = None,
        score_threshold: float = 0.0,
        batch_size: int = 1,
        class_names: Sequence[str] | str | os.PathLike | None = None,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise UserError(f"score_threshold={score_threshold} must be from 0 to 1.")
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} must be at least 1.")
        cfg = apply_overrides(load_config(os.fspath(config)), overrides)
        self.score_threshold = score_threshold
        self.batch_size = batch_size
        self.categories = _categories(cfg, class_names)
        self.augmentations, self.image_format = _test_mapper(cfg)
        path = os.fspath(weights) if weights else find_weights(cfg, Path(config))
        self.model = _on_device(cfg, device)
        _load(self.model, path)
        logger.info("Weights: %s", path)

    @property
    def class_names(self) -> list[str]:
        """Names in the order of ``pred_classes``."""
        return [category["name"] for category in self.categories]

    def __call__(self, image: np.ndarray | Sequence[np.ndarray]) -> Instances | list[Instances]:
        """Detect objects in one picture, or in each of a list.

        Args:
            image: (H, W, 3) uint8, BGR: what ``cv2.imread`` returns and Detectron2's own predictor
                takes. From RGB: ``image[:, :, ::-1]``.

        Returns:
            Detectron2's `Instances`, on the CPU, in the frame of the given picture: pred_boxes
            (XYXY in pixels), scores, pred_classes and, if the model has masks, pred_masks
            (N, H, W); best score first. For a list, one per picture.
        """
        if isinstance(image, np.ndarray):
            return self([image])[0]
        inputs = [self._prepare(one) for one in image]
        # NOTE: only pictures that come out at one size share a batch. Padding to a common size
        # changes what the model sees, and detections would depend on the neighbours in the list.
        by_shape = defaultdict(list)
        for index, one in enumerate(inputs):
            by_shape[one["image"].shape].append(index)
        results: dict[int, Instances] = {}
        for indices in by_shape.values():
            for start in range(0, len(indices), self.batch_size):
                batch = indices[start : start + self.batch_size]
                results.update(zip(batch, self._detect([inputs[index] for index in batch])))
        return [results[index] for index in range(len(inputs))]

    def _prepare(self, image: np.ndarray) -> dict[str, Any]:
        """A picture as the test mapper gives it to the model."""
        shape = getattr(image, "shape", ())
        if len(shape) != 3 or shape[2] != 3 or 0 in shape or image.dtype != np.uint8:
            what = f"{image.dtype} of shape {shape}" if shape else type(image).__name__
            raise UserError(
                f"A picture must be an array (H, W, 3) of uint8 in the order BGR, not {what}: "
                "convert it first, e.g. by cv2.imread or cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)."
            )
        height, width = shape[:2]
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise UserError(
                f"A picture of {height} x {width} (H x W) cannot be resized for the model: cut it, "
                f"so that no side is more than {MAX_ASPECT} times the other."
            )
        if self.image_format != "BGR":
            image = np.asarray(Image.fromarray(image[:, :, ::-1]).convert(self.image_format))
            image = image.reshape(height, width, -1)
        given = T.AugInput(image)
        self.augmentations(given)
        channels_first = np.ascontiguousarray(given.image.transpose(2, 0, 1))
        return {"image": torch.as_tensor(channels_first), "height": height, "width": width}

    def _detect(self, batch: list[dict[str, Any]]) -> list[Instances]:
        try:
            with torch.no_grad():
                outputs = self.model(batch)
        except torch.OutOfMemoryError as error:
            sizes = {tuple(one["image"].shape[1:]) for one in batch}
            raise UserError(
                f"{len(batch)} pictures of {sizes.pop()} (H, W) are too many for the memory of the "
                "GPU: lower batch_size, or use the device cpu."
            ) from error
        found = [output["instances"].to("cpu") for output in outputs]
        return [one[one.scores >= self.score_threshold] for one in found]


def find_weights(cfg: DictConfig, config: Path) -> str:
    """Weights of the run that saved ``config``, if it is a .yaml, or that wrote train.output_dir."""
    folders = [config.parent] if config.suffix in (".yaml", ".yml") else []
    folders += [Path(cfg.train.output_dir)] if "train" in cfg else []
    for folder in folders:
        for name in WEIGHTS:
            if (folder / name).is_file():
                return str(folder / name)
    raise UserError(
        f"No weights were given, and neither {' nor '.join(WEIGHTS)} is in "
        f"{' or '.join(map(str, folders))}: train first, or say --weights FILE."
    )


def _categories(cfg: DictConfig, class_names: Any) -> list[Category]:
    """The classes of the model; numbers for names where nothing tells them."""
    count = OmegaConf.select(cfg, "model.roi_heads.num_classes")
    known = config_categories(cfg) if class_names is None else given_categories(class_names)
    if known is not None and count in (None, len(known)):
        return known
    if class_names is not None:
        raise UserError(f"{len(known)} class names were given, but the model has {count} classes.")
    if count is None:
        raise UserError("Nothing tells the classes of this model: give --class-names.")
    logger.warning("The names of the classes are not known: use --class-names to give them.")
    return numbered([f"class {number}" for number in range(1, count + 1)])


def _test_mapper(cfg: DictConfig) -> tuple[T.AugmentationList, str]:
    """How the config resizes its test pictures, and the order of their channels."""
    mapper = OmegaConf.select(cfg, "dataloader.test.mapper")
    if mapper is None or "augmentations" not in mapper or "image_format" not in mapper:
        raise UserError(
            "This config has no dataloader.test.mapper with augmentations and image_format, which "
            "tell how pictures are resized for the model: add it."
        )
    return T.AugmentationList(instantiate(mapper.augmentations)), mapper.image_format


def _on_device(cfg: DictConfig, device: str | None) -> nn.Module:
    wanted = device or OmegaConf.select(cfg, "train.device") or "cpu"
    if device is None and str(wanted).startswith("cuda") and not torch.cuda.is_available():
        logger.info("The config's device is %s, which is not here: using the CPU.", wanted)
        wanted = "cpu"
    try:
        torch.zeros(1, device=wanted).item()
    except (RuntimeError, AssertionError) as error:  # what torch raises depends on its build
        others = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise UserError(
            f"The device {wanted} cannot be used here: choose from {', '.join(others)}."
        ) from error
    return build_model(cfg, wanted).eval()


def _load(model: nn.Module, path: str) -> None:
    """Load a checkpoint completely, or end in a sentence."""
    if "://" not in path and not os.path.isfile(path):
        raise UserError(f"The weights {path} do not exist: correct the path.")
    StrictCheckpointer(model, complete=True).load(path)
