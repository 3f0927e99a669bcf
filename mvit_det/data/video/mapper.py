"""Mapper from a video file to the clip that a classifier takes; bad videos are skipped."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from mvit_det.data.decoding.reader import OpenVideo, VideoError, open_video
from mvit_det.data.sample_mapper import MapperFault, SampleMapper
from mvit_det.errors import UserError


class FramesMapper(SampleMapper):
    """Base of mappers that read a clip: frames of a video, chosen by a subclass.

    Args:
        is_train: training or testing, as for `SampleMapper`.
        sampling: chooses frame indices by the frames' times; see the subclasses.
        **options: of `SampleMapper`.
    """

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
            return video.frames(self._frame_indices(video, item))

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
        max_bad_share: as for `SampleMapper`.
        min_seen: as for `SampleMapper`.
    """

    kind = "video"

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


def _clip_of(item: dict[str, Any]) -> tuple[int, int]:
    """Return the index of an item's clip, and the number of clips of its video."""
    return item.get("clip", 0), item.get("clips", 1)
