"""Mapper from a video file to the clip that a classifier takes; bad videos are skipped."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from mvit_det.data.decoding.reader import OpenVideo, VideoError, open_video
from mvit_det.data.sample_mapper import MapperFault, SampleMapper
from mvit_det.errors import UserError, check_choice


class FramesMapper(SampleMapper):
    """Base of mappers that read a clip: frames of a video, chosen by a subclass.

    Args:
        is_train: training or testing, as for `SampleMapper`.
        sampling: chooses frame indices by the frames' times; see the subclasses.
        **options: of `SampleMapper`.

    Attributes:
        short_side: shorter side in pixels of decoded frames; None: the stored size.
    """

    short_side: int | None = None

    def __init__(self, is_train: bool, *, sampling: Any, **options: Any):
        super().__init__(is_train, **options)
        self.sampling = sampling

    @abstractmethod
    def choose_frames(self, video: OpenVideo, item: dict[str, Any]) -> np.ndarray:
        """Choose the frame indices (T,) of an item's clip.

        Raises:
            VideoError: the video does not have the item's frames; it counts as a bad file.
        """

    def read(self, item: dict[str, Any]) -> np.ndarray:
        """Decode the frames of the clip: RGB uint8 (T, H, W, 3).

        Raises:
            VideoError: the video or one of its frames cannot be read.
            MapperFault: the sampling failed, or chose frames that do not exist.
        """
        with open_video(item["file_name"], fps=item.get("fps")) as video:
            return video.frames(self._frame_indices(video, item), self.short_side)

    def _frame_indices(self, video: OpenVideo, item: dict[str, Any]) -> np.ndarray:
        try:
            indices = np.asarray(self.choose_frames(video, item))
        except (UserError, VideoError):
            raise
        except Exception as error:
            raise self.fault(item, f"choosing among its {len(video)} frames", error) from error
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= len(video):
            raise MapperFault(
                f"{self.kind.capitalize()} {self.name(item)} has {len(video)} frames, but "
                f"{type(self.sampling).__name__} chose {indices.tolist()}."
            )
        return indices


def black_frames(choose: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Make as many black frames as a sampling chooses: uint8 (T, 64, 64, 3).

    Args:
        choose: returns frame indices (T,) for the times (N,) of frames in seconds.
    """
    return np.zeros((len(choose(np.arange(64) / 30)), 64, 64, 3), np.uint8)


class ClipMapper(FramesMapper):
    """Decodes the frames of one clip, and transforms them.

    A video is bad if it is missing, has no pictures, or if a frame of the clip cannot be decoded;
    see `SampleMapper` for how bad videos are handled. `repeated` samples have the same frames and
    different augmentation, as in PySlowFast.

    Items have "file_name" (a video file or a folder of frames), "label", optionally "fps" for a
    folder of frames, and in testing optionally "clip" and "clips" (see `VideoClasses`), which
    samples then have too; without them the video has one clip.

    Args:
        transform: from frames uint8 (T, H, W, 3) to a float tensor "inputs": (3, T, h, w) in
            training, (crops, 3, T, h, w) in testing.
        sampling: chooses frame indices (T,) by the frames' times (N,) in seconds: ``train(times)``
            at random, ``test(times, clip, clips)`` one of several clips; like `DenseSampling`.
        resize_on_decoding: whether frames are resized as they are decoded, before the transform, to
            its ``short_side``, with a low-pass filter (`mvit_det.data.decoding.resizing`).
            PySlowFast does so for Kinetics. It reads Something-Something-v2 and AVA as pictures of
            the stored size.
        max_bad_share: as for `SampleMapper`.
        min_seen: as for `SampleMapper`.

    Raises:
        UserError: frames are to be resized, and the transform has no ``short_side``.
    """

    kind = "video"

    def __init__(self, is_train: bool, *, resize_on_decoding: bool = False, **options: Any):
        super().__init__(is_train, **options)
        self.short_side = decoded_short_side(self.transform, resize_on_decoding)

    def known(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return the entries that need no decoding; in testing with "clip" and "clips"."""
        known = super().known(item)
        if not self.is_train:
            known["clip"], known["clips"] = _clip_of(item)
        return known

    def choose_frames(self, video: OpenVideo, item: dict[str, Any]) -> np.ndarray:
        """Choose frame indices (T,): a random clip in training, the item's clip in testing."""
        if self.is_train:
            return self.sampling.train(video.times)
        return self.sampling.test(video.times, *_clip_of(item))

    def blank(self) -> np.ndarray:
        """Return a clip of black frames: uint8 (T, 64, 64, 3)."""
        return black_frames(lambda times: self.sampling.test(times, 0, 1))


def decoded_short_side(transform: Any, resize_on_decoding: bool) -> int | None:
    """Return the shorter side in pixels that frames are decoded at; None: the stored size.

    Args:
        transform: of clips; its ``short_side`` is the result.
        resize_on_decoding: as for `ClipMapper`.

    Raises:
        UserError: the transform has no ``short_side``, or ``resize_on_decoding`` is no truth value.
    """
    check_choice("ClipMapper", (False, True), resize_on_decoding=resize_on_decoding)
    if not resize_on_decoding:
        return None
    short_side = getattr(transform, "short_side", None)
    if not isinstance(short_side, int):
        raise UserError(
            "resize_on_decoding=True of ClipMapper needs a transform with the attribute "
            f"short_side, in pixels, which {type(transform).__name__} lacks: add it, or set "
            "dataloader.train.mapper.resize_on_decoding=false."
        )
    return short_side


def _clip_of(item: dict[str, Any]) -> tuple[int, int]:
    """Return the index of an item's clip, and the number of clips of its video."""
    return item.get("clip", 0), item.get("clips", 1)
