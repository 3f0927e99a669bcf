"""Mapper from a video file to the clip that a recognizer takes; bad videos are skipped."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from mvit_det.data.decoding.reader import OpenVideo, VideoError, open_video
from mvit_det.data.sample_mapper import MapperFault, SampleMapper
from mvit_det.errors import UserError


class FramesMapper(SampleMapper):
    """Reads a clip: frames of a video, chosen by a subclass and its ``sampling``."""

    def __init__(self, is_train: bool, *, sampling: Any, **options: Any):
        super().__init__(is_train, **options)
        self.sampling = sampling

    @abstractmethod
    def chosen(self, video: OpenVideo, item: dict[str, Any]) -> np.ndarray:
        """Choose the frame indices (T,) of an item's clip.

        Raises:
            VideoError: the video does not have the item's frames; it counts as a bad file.
        """

    def read(self, item: dict[str, Any]) -> np.ndarray:
        """Decode the frames of the clip: RGB uint8 (T, H, W, 3)."""
        with open_video(item["file_name"], fps=item.get("fps")) as video:
            return video.frames(self._checked(video, item))

    def _checked(self, video: OpenVideo, item: dict[str, Any]) -> np.ndarray:
        try:
            chosen = np.asarray(self.chosen(video, item))
        except (UserError, VideoError):
            raise
        except Exception as error:
            raise self.fault(item, f"choosing among its {len(video)} frames", error) from error
        if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= len(video):
            raise MapperFault(
                f"{self.kind.capitalize()} {self.name(item)} has {len(video)} frames, of which "
                f"{chosen.tolist()} were chosen by {type(self.sampling).__name__}."
            )
        return chosen


def black_frames(choose: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return as many black frames as ``choose`` selects by times (N,): uint8 (T, 64, 64, 3)."""
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
        """See `SampleMapper.known`."""
        known = super().known(item)
        if not self.is_train:
            known["clip"], known["clips"] = _place(item)
        return known

    def chosen(self, video: OpenVideo, item: dict[str, Any]) -> np.ndarray:
        """See `FramesMapper.chosen`."""
        if self.is_train:
            return self.sampling.train(video.times)
        return self.sampling.test(video.times, *_place(item))

    def blank(self) -> np.ndarray:
        """Return a clip of black frames: uint8 (T, 64, 64, 3)."""
        return black_frames(lambda times: self.sampling.test(times, 0, 1))


def _place(item: dict[str, Any]) -> tuple[int, int]:
    return item.get("clip", 0), item.get("clips", 1)
