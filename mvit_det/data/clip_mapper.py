"""From the place of a video to a clip that a recognizer takes; bad videos are survived."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from mvit_det.data.sample_mapper import MapperFault, SampleMapper
from mvit_det.data.videos import open_video
from mvit_det.errors import UserError


class Sampling(Protocol):
    """Chooses frame numbers (T,) by the frames' times (N,) in seconds, like `DenseSampling`."""

    def train(self, times: np.ndarray) -> np.ndarray:
        """At random."""

    def test(self, times: np.ndarray, clip: int, clips: int) -> np.ndarray:
        """The same each time, for the clip of this number among so many."""


class ClipMapper(SampleMapper):
    """Decodes the frames of one clip, and transforms them.

    Bad is a video that is missing, has no pictures, or of which a frame of the clip cannot be
    decoded; see `SampleMapper` for what becomes of it. Nothing is kept between calls. With
    ``repeated`` the frames are the same and the augmentation is not, as in PySlowFast.

    Items have "file_name" (a video file or a folder of frames), "label", for a folder of frames
    optionally "fps", and in testing optionally "clip" and "clips" (see `video_views`), which samples
    have too; without them one clip stands for the video.

    Args:
        transform: from frames uint8 (T, H, W, 3) to a float tensor: in training (3, T, h, w), in
            testing (crops, 3, T, h, w).
        max_bad_share, min_seen: the largest share of bad videos, and from how many videos on it
            is judged.
    """

    kind = "video"

    def __init__(
        self,
        is_train: bool,
        *,
        sampling: Sampling,
        transform: Callable[[np.ndarray], torch.Tensor],
        max_bad_share: float = 0.1,
        min_seen: int = 100,
    ):
        super().__init__(is_train, transform, max_bad_share, min_seen)
        self.sampling = sampling

    def repeated(self, item: dict[str, Any], count: int) -> list[dict[str, Any]] | None:
        """``count`` samples of one clip, which is decoded once and augmented anew for each."""
        samples = super().repeated(item, count)
        if self.is_train or samples is None:
            return samples
        clip, clips = _place(item)
        return [{**sample, "clip": clip, "clips": clips} for sample in samples]

    def read(self, item: dict[str, Any]) -> np.ndarray:
        """The frames of the clip: uint8 (T, H, W, 3)."""
        with open_video(item["file_name"], fps=item.get("fps")) as video:
            return video.frames(self._chosen(video.times, item))

    def blank(self) -> np.ndarray:
        """As many black frames as a clip has."""
        times = np.arange(64) / 30
        return np.zeros((len(self.sampling.test(times, 0, 1)), 64, 64, 3), np.uint8)

    def _chosen(self, times: np.ndarray, item: dict[str, Any]) -> np.ndarray:
        try:
            if self.is_train:
                chosen = np.asarray(self.sampling.train(times))
            else:
                chosen = np.asarray(self.sampling.test(times, *_place(item)))
        except UserError:
            raise
        except Exception as error:
            raise MapperFault(
                f"Video {item['file_name']} reads well, but choosing among its {len(times)} frames "
                f"failed: {type(error).__name__}: {error}"
            ) from error
        if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= len(times):
            raise MapperFault(
                f"Video {item['file_name']} has {len(times)} frames, of which {chosen.tolist()} "
                f"were chosen by {type(self.sampling).__name__}."
            )
        return chosen


def _place(item: dict[str, Any]) -> tuple[int, int]:
    return item.get("clip", 0), item.get("clips", 1)
