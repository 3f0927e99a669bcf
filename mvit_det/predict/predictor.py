"""A model with its weights as a function from images or videos to objects, classes or actions."""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvit_det.data.custom.categories import Category, categories_from_config, run_of
from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.data.decoding.resizing import MAX_ASPECT
from mvit_det.data.image_files import configured_pictures
from mvit_det.engine import apply_overrides, build_model, load_config, open_device
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.errors import UserError, check_count, check_share
from mvit_det.exported import ExportedModel, is_export
from mvit_det.precision import autocast, open_precision
from mvit_det.predict.key_clips import (
    KeyClip,
    describe_outside,
    key_clips,
    parse_boxes,
    split_seconds,
)
from mvit_det.predict.open_frames import open_frames, raise_error
from mvit_det.predict.pictures import to_bgr
from mvit_det.predict.spans import check_window, split_windows
from mvit_det.tasks import task_of
from mvit_det.tasks.actions import People
from mvit_det.tasks.video import Span

logger = logging.getLogger(__name__)

# The first that exists in a run's output folder: the best checkpoint, or the last.
WEIGHTS = ("model_best.pth", "averaged_final.pth", "model_final.pth")


class Predictor:
    """The model of a config with weights: ``result = Predictor(config, weights)(image)``.

    A detector returns `Instances`, a classifier the scores of all classes. Images are prepared as
    the config's test images are, and results equal those of an evaluation on the same image (up to
    EXIF orientation, which `python -m mvit_det.predict` applies as well).
    A video classifier takes videos, ``Predictor(config, weights)("clip.mp4")``, and averages scores
    over the clips and crops that the config tests with. An action detector takes videos and person
    boxes: see `actions`.
    None of the config's data is needed, neither files nor annotations.

    Args:
        config: a LazyConfig, .py or the config.yaml of a run.
        weights: a checkpoint that matches the model completely, in any published format, the name
            of published weights, or the folder of an exported model; by default the best or
            else the last checkpoint next to the config.yaml, or in the config's
            train.output_dir.
        overrides: ``key=value`` changes to the config.
        allow_targets: see `mvit_det.get_config`.
        device: "cpu", "cuda", "cuda:1", ...; by default the config's, or the CPU if that is CUDA
            and this machine has none.
        precision: "fp32"; "bf16", which is faster on CPUs with AVX-512 BF16 or AMX and on GPUs; or
            "fp16", on GPUs.
        score_threshold: from 0 to 1; detections (not classes) of a lower score are dropped. At 0
            the model's threshold remains (test_score_thresh of its box predictor). For an
            action detector, actions of a lower score are not drawn.
        batch_size: maximum number of images, or of clips with their crops, per forward pass.
        class_names: in the order of the model's outputs, or a file: one name per line, or COCO
            JSON. By default those of the config.yaml next to the weights, if it has as many
            classes as the model, else those of the config or its test data. For an action
            detector a label map, as AVA's .pbtxt or lines "12: stand", may name a subset of its
            actions.

    Attributes:
        categories: {"id", "name"} of each class, as in a COCO file, in the order of
            ``pred_classes`` or of the scores. For an action detector the evaluated actions;
            scores[:, id - 1] belongs to an id.
        task: the task of the config, an object of `mvit_det.tasks`.
        pictures: what is read from image files, the config's ``dataloader.pictures``.
        inference: how the task prepares inputs and handles results, an `Inference` with what the
            task adds to it.

    Raises:
        UserError: a setting is out of range, or config, weights and class names do not match.
    """

    def __init__(
        self,
        config: str | os.PathLike,
        weights: str | os.PathLike | None = None,
        *,
        overrides: Sequence[str] = (),
        allow_targets: Sequence[str] = (),
        device: str | None = None,
        precision: str = "fp32",
        score_threshold: float = 0.0,
        batch_size: int = 1,
        class_names: Sequence[str] | str | os.PathLike | None = None,
    ) -> None:
        check_share("Predictor", score_threshold=score_threshold)
        check_count("Predictor", batch_size=batch_size)
        cfg = apply_overrides(load_config(os.fspath(config), allow_targets), overrides)
        self.batch_size = batch_size
        self.task = task_of(cfg)
        self.pictures = configured_pictures(cfg)
        self.inference: Any = self.task.inference(cfg, score_threshold)
        path = os.fspath(weights) if weights else find_weights(cfg, Path(config))
        _use_classes_of_run(cfg, path, self.task.num_classes_key)
        self.categories: list[Category] = self.task.categories(cfg, class_names)
        self._autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.model = self._open(cfg, path, device, precision)
        logger.info("Weights: %s", path)

    def _open(self, cfg: DictConfig, path: str, device: str | None, precision: str) -> nn.Module:
        """Build the model and load its weights, or open an exported model."""
        if is_export(path):
            return ExportedModel(path, self.task, precision, device)
        opened = _open_device(cfg, device)
        dtype = open_precision(precision, opened, "The precision ")
        self._autocast = partial(autocast, dtype, opened)
        model = build_model(cfg, opened).eval()
        ema = OmegaConf.select(cfg, "train.init_ema", default=True)
        StrictCheckpointer(model, complete=True, ema=ema).load(path)
        return model

    @property
    def class_names(self) -> list[str]:
        """Class names in the order of ``pred_classes`` or of the scores."""
        return [category["name"] for category in self.categories]

    def __call__(self, image: Any, *, fps: float | None = None) -> Any:
        """Detect objects in an image, or classify an image or a video; or each of a list.

        Args:
            image: the path of a picture; a picture of Pillow; an array (H, W, 3) uint8, BGR, as
                ``cv2.imread`` returns and Detectron2's predictor takes (from RGB:
                ``image[:, :, ::-1]``); or a tensor (3, H, W) uint8, RGB, as torchvision reads. For
                a video classifier the path of a video or of a folder of its frames, or all frames
                (N, H, W, 3) uint8, BGR. (Frames of a file are resized before they become RGB, so
                that results of an array, or a folder, differ a little from those of the file.)
            fps: frames per second of frames; 30 by default. Video files specify theirs.

        Returns:
            From a detector Detectron2's `Instances`, on the CPU, in pixels of the given image:
            pred_boxes (XYXY), scores, pred_classes and, if the model has masks, pred_masks (N, H,
            W), see `PastedMasks`; best score first. From a classifier the scores (K,) of all
            classes, a tensor on the CPU that sums to 1. For a list, one result per image or video.

        Raises:
            UserError: the input has another form, or a video cannot be read.
        """
        if self.task.inputs == "key frames":
            raise UserError("This config's model detects actions: use .actions(video, boxes).")
        if self.task.inputs == "videos":
            if isinstance(image, (list, tuple)):
                return [self(video, fps=fps) for video in image]
            return self.over_time(image, fps=fps)[0].scores
        if not isinstance(image, (list, tuple, Iterator)):
            return self([image])[0]
        inputs = [self._prepare(each) for each in image]
        # NOTE: only images resized to equal shapes share a batch. Padding to a common size changes
        # the model's input, and detections would depend on the other images in the list.
        by_shape = defaultdict(list)
        for index, (tensor, _) in enumerate(inputs):
            by_shape[tensor.shape].append(index)
        results: dict[int, Any] = {}
        for indices in by_shape.values():
            for start in range(0, len(indices), self.batch_size):
                batch = indices[start : start + self.batch_size]
                results.update(zip(batch, self._run([inputs[index] for index in batch])))
        return [results[index] for index in range(len(inputs))]

    def over_time(
        self, video: Any, window: float | None = None, *, fps: float | None = None
    ) -> list[Span]:
        """Classify a video window by window, with a video classifier.

        Args:
            video: as for a call.
            window: length in seconds; each window gets as many views as the config tests a video
                with. None for the whole video, which gives one `Span`.
            fps: as for a call.

        Returns:
            One `Span` per window, in order, with the ``scores`` (K,) of all classes.

        Raises:
            UserError: the model is not a video classifier, or the video cannot be read.
        """
        if self.task.inputs != "videos":
            raise UserError(
                "Windows need a video classifier, which this config's model is not: call the "
                "predictor, or its actions()."
            )
        with self._open_checked(video, fps) as frames:
            return list(self.spans(frames, window))

    def open(self, video: Any, fps: float | None = None) -> AbstractContextManager[OpenVideo]:
        """Open a video file, a folder of frames, or an array of frames, for a ``with`` block.

        Args:
            video: as for a call.
            fps: as for a call.

        Raises:
            VideoError: a file or folder cannot be read; its message lacks the path.
            UserError: an array has another form than (N, H, W, 3) uint8.
        """
        return open_frames(video, fps, getattr(self.inference, "fps", None))

    @contextmanager
    def _open_checked(self, video: Any, fps: float | None) -> Iterator[OpenVideo]:
        """Open as `open` does, but raise a `UserError` with the path for each `VideoError`."""
        try:
            with self.open(video, fps) as frames:
                yield frames
        except VideoError as error:
            raise UserError(f"Video {video} cannot be used: {error}.") from error

    def spans(self, video: OpenVideo, window: float | None = None) -> Iterator[Span]:
        """Yield the results of `over_time` for a video opened by `open`.

        Raises:
            UserError: the window is too short, or the frames are too narrow.
            VideoError: a frame cannot be decoded.
        """
        check_window(window)
        _check_aspect(video.frames([0]).shape[1:3], "A video")
        for start, end, frames in split_windows(video.times, video.end, window):
            views = self.inference.views(video, frames)
            scores: list[torch.Tensor] = []
            while batch := [(clip, None) for clip in islice(views, self.batch_size)]:
                scores += self._run(batch)
            yield Span(start, end, frames, torch.cat(scores).double().mean(dim=0).float())

    def actions(
        self, video: Any, boxes: Mapping[float, Any], *, fps: float | None = None
    ) -> list[People]:
        """Detect the actions of people at key frames of a video, with an action detector.

        Args:
            video: as for a call.
            boxes: second of a key frame -> person boxes (N, 4), x1, y1, x2, y2 as fractions of the
                frame, from 0 to 1.
            fps: as for a call.

        Returns:
            One `People` per key frame, in order, with its boxes and their ``scores`` (N, K).

        Raises:
            UserError: the model is not an action detector, or the video or boxes cannot be used.
        """
        if self.task.inputs != "key frames":
            raise UserError("Person boxes need an action detector, which this model is not.")
        by_second = parse_boxes(boxes)
        with self._open_checked(video, fps) as frames:
            seconds, outside = split_seconds(frames, list(by_second))
            if outside:
                raise VideoError(describe_outside(frames, outside))
            return list(self.people(frames, seconds, lambda clip: (by_second[clip.second], None)))

    def people(
        self,
        video: OpenVideo,
        seconds: Sequence[float],
        boxes_at: Callable[[KeyClip], tuple[np.ndarray, np.ndarray | None]],
        on_fault: Callable[[float, VideoError], None] = raise_error,
    ) -> Iterator[People]:
        """Yield the results of `actions` for a video opened by `open`.

        Args:
            video: an open video.
            seconds: times of the key frames.
            boxes_at: returns the boxes (N, 4) at a key frame, as fractions of the frame, and their
                scores (N,) or None.
            on_fault: see `key_clips`.

        Raises:
            UserError: the frames are too narrow.
            VideoError: a frame cannot be decoded, unless ``on_fault`` handles it.
        """
        _check_aspect(video.frames([0]).shape[1:3], "A video")
        clips = key_clips(video, seconds, self.inference.sampling, on_fault)
        while batch := list(islice(clips, self.batch_size)):
            by_clip = [boxes_at(clip) for clip in batch]
            samples = [
                self.inference.prepare(clip.clip, boxes)
                for clip, (boxes, _) in zip(batch, by_clip)
                if len(boxes)
            ]
            outputs = iter(self._run(samples) if samples else [])
            for clip, (boxes, box_scores) in zip(batch, by_clip):
                scores = next(outputs) if len(boxes) else torch.zeros(0, self.inference.num_actions)
                box_scores = np.full(len(boxes), np.nan) if box_scores is None else box_scores
                size = clip.picture.shape[:2]
                yield People(clip.second, clip.frame, size, boxes, scores, box_scores)

    def _prepare(self, image: Any) -> tuple[torch.Tensor, Any]:
        """Prepare an image as the test mapper does: the model's input and its companions."""
        image = to_bgr(image, self.pictures)
        _check_aspect(image.shape[:2], "A picture")
        return self.inference.prepare(image)

    def _run(self, samples: list[tuple[torch.Tensor, Any]]) -> list[Any]:
        try:
            with torch.no_grad():
                batch = self.inference.batch(samples)
                with self._autocast():
                    outputs = self.model(batch)
                return self.inference.results(outputs)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{len(samples)} pictures of {tuple(samples[0][0].shape[-2:])} (H, W) are too many "
                "for the memory of the GPU: lower batch_size, or use the device cpu."
            ) from error


def _check_aspect(size: Sequence[int], kind: str) -> None:
    """Raise a `UserError` for a size (H, W) that is more extreme than `MAX_ASPECT`."""
    if max(size) > MAX_ASPECT * min(size):
        raise UserError(
            f"{kind} of {size[0]} x {size[1]} (H x W) cannot be resized for the model: cut it, so "
            f"that no side is more than {MAX_ASPECT} times the other."
        )


def find_weights(cfg: DictConfig, config: Path) -> str:
    """Return weights of the run that saved ``config``, if it is a .yaml, or of train.output_dir.

    Raises:
        UserError: none of `WEIGHTS` exists there.
    """
    folders = [config.parent] if config.suffix in (".yaml", ".yml") else []
    folders += [Path(cfg.train.output_dir)] if "train" in cfg else []
    for folder in folders:
        for name in WEIGHTS:
            if (folder / name).is_file():
                return str(folder / name)
    raise UserError(
        f"No weights were given, and neither {' nor '.join(WEIGHTS)} is in "
        f"{' or '.join(map(str, folders))}: train first, or give --weights FILE."
    )


def _use_classes_of_run(cfg: DictConfig, weights: str, num_classes_key: str) -> None:
    """Let a config name the classes of the run that trained the weights, if the numbers agree."""
    run = run_of(weights)
    known = run and categories_from_config(run)
    if not run or not known or known == categories_from_config(cfg):
        return
    count = OmegaConf.select(cfg, num_classes_key)
    if count in (None, OmegaConf.select(run, num_classes_key, default=len(known))):
        logger.info("Classes: those of the config.yaml next to %s", weights)
        cfg.categories = run.categories


def _open_device(cfg: DictConfig, device: str | None) -> torch.device:
    name = device or OmegaConf.select(cfg, "train.device") or "cpu"
    if device is None and str(name).startswith("cuda") and not torch.cuda.is_available():
        logger.info("The config's device %s is not available: using the CPU.", name)
        name = "cpu"
    return open_device(name, "The device ")
