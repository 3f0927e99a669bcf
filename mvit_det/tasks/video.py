"""Video classification: the best classes of a whole video, or of each window."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf

from mvit_det.data.checks.classes import class_counts, class_findings
from mvit_det.data.checks.findings import FileCheck, Finding
from mvit_det.data.checks.videos import clip_side, video_checks
from mvit_det.data.video.custom import use_custom_videos
from mvit_det.data.video.datasets import VideoClasses
from mvit_det.data.video.mapper import decoded_short_side
from mvit_det.errors import UserError
from mvit_det.evaluation.classification.metrics import TOP
from mvit_det.tasks.base import Categories, Row, required_mapper
from mvit_det.tasks.classification import Classification, ClassInference


class VideoClassification(Classification):
    """Classify videos, averaging over several clips and crops."""

    model = "a classifier of videos"
    inputs = "videos"
    files = ("videos",)
    replace_data = staticmethod(use_custom_videos)
    custom_data_command = (
        "kinetics/mvitv2_s_16x4_k400",
        "--train-videos FOLDER --val-videos FOLDER  (one folder per class)",
    )
    predict_inputs = "VIDEOS"
    output_files = {
        "video_scores.npz": "the scores of each video, averaged over its views (numpy.load)",
        **Classification.output_files,
    }

    def check_files(
        self, cfg: DictConfig, split: str, full: bool = False
    ) -> Iterator[Finding | FileCheck]:
        """Yield what is wrong with the classes and the list of a split, and the checks of videos.

        Args:
            cfg: with the loaders of both splits.
            split: "train" or "test".
            full: decode all frames, instead of three per video.

        Raises:
            UserError: the data set is refused.
        """
        videos = instantiate(_dataset_node(cfg, split))
        with suppress(UserError):  # the other split is refused in its turn
            tested = instantiate(_dataset_node(cfg, "test")) if split == "train" else None
            if isinstance(videos, VideoClasses) and isinstance(tested, VideoClasses):
                counts = class_counts(videos), class_counts(tested)
                yield from class_findings(*counts, unit="videos")
        mapper = cfg.dataloader[split].mapper
        options = dict(sampling=instantiate(mapper.sampling), side=clip_side(mapper), full=full)
        yield from video_checks(videos, **options)

    def preprocessing(self, cfg: DictConfig) -> dict[str, Any]:
        """Describe sampling, resizing, crops and normalisation.

        Raises:
            UserError: the transform is another one than `clip_test_transform`.
        """
        inference = self.inference(cfg)
        names = "DenseSampling", "SegmentSampling"
        known = type(inference.sampling).__name__ in names
        if not known or not hasattr(inference.transform, "crops"):
            raise UserError(
                "dataloader.test.mapper cannot be exported: clip_test_transform and "
                f"{' or '.join(names)} can."
            )
        return {
            "sampling": sampling_numbers(inference.sampling),
            "clips": inference.clips,
            "decode_short_side": inference.short_side,
            **clip_numbers(inference.transform),
        }

    def inference(self, cfg: DictConfig, score_threshold: float = 0.0) -> "ClipInference":
        """Build `ClipInference` from the sampling and transform of the test mapper."""
        mapper, loader = required_mapper(cfg, "sampling", "transform"), cfg.dataloader.test
        clips = OmegaConf.select(loader, "dataset.clips", default=1)
        fps = _dataset_node(cfg, "test").get("fps")
        transform, sampling = instantiate(mapper.transform), instantiate(mapper.sampling)
        short_side = decoded_short_side(transform, mapper.get("resize_on_decoding", False))
        return ClipInference(transform, sampling, clips, fps, short_side)


def sampling_numbers(sampling: Any) -> dict[str, Any]:
    """Describe by name and numbers how the frames of a clip are chosen."""
    return {"rule": type(sampling).__name__, **vars(sampling)}


def clip_numbers(transform: Any) -> dict[str, Any]:
    """Describe by numbers how the frames of a clip are resized, cut and normalised."""
    size = getattr(transform, "size", None) or getattr(transform, "crop", None)
    normalise = transform.normalise
    return {
        "short_side": transform.short_side,
        "size": list(size) if size else None,
        "crops": getattr(transform, "crops", 1),
        "interpolation": "bilinear, without antialiasing",
        "channels": "RGB",
        "scale": 1 / 255,
        "mean": [value / 255 for value in normalise.mean],
        "std": [value / 255 for value in normalise.std],
    }


def _dataset_node(cfg: DictConfig, split: str) -> DictConfig:
    """Return the node of the videos; older configs wrap it in `video_views`."""
    node = cfg.dataloader[split].dataset
    return node.get("dataset") or node


@dataclass(frozen=True)
class Span:
    """The model's scores for a part of a video.

    Attributes:
        start: in seconds.
        end: in seconds.
        frames: frame indices.
        scores: (K,) probabilities of all classes, on the CPU; they sum to 1.
    """

    start: float
    end: float
    frames: range
    scores: torch.Tensor


@dataclass
class ClipInference(ClassInference):
    """Classify videos: results are the probabilities (K,) of a clip, averaged over its crops.

    Attributes:
        transform: maps frames (T, H, W, 3) RGB to the model's input (crops, 3, T, h, w).
        sampling: chooses the frames of a clip, as the config does for testing.
        clips: number of clips per video or window.
        fps: frames per second of folders of frames.
        short_side: shorter side in pixels that frames are decoded at; None: the stored size.
    """

    sampling: Any
    clips: int
    fps: float | None
    short_side: int | None = None

    def views(self, video: Any, part: range) -> Iterator[torch.Tensor]:
        """Yield the crops (crops, 3, T, h, w) of each clip of ``part``, frames of an open video."""
        times = video.times[part.start : part.stop]
        for clip in range(self.clips):
            indices = self.sampling.test(times - times[0], clip, self.clips) + part.start
            yield self.transform(video.frames(indices, self.short_side))

    def rows(self, result: Any, image_id: int, categories: Categories) -> list[Row]:
        """Return one entry per `Span` of the sequence ``result``, with its best classes first."""
        entries = []
        for span in result:
            [entry] = super().rows(span.scores, image_id, categories)
            times = {"start": round(span.start, 6), "end": round(span.end, 6)}
            entries.append({"image_id": image_id, **times, "classes": entry["classes"]})
        return entries

    def summary(self, rows: int) -> str:
        """Describe the entries of predictions.json."""
        return f"up to {TOP} classes for each of {rows} videos or windows"
