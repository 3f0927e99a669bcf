"""Several clips of every video, for testing."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from mvit_det.errors import UserError


class VideoViews(Dataset):
    """Items of ``dataset``, each of them ``clips`` times, numbered by "clip" and "clips"."""

    def __init__(self, dataset: Sequence[dict[str, Any]], clips: int):
        self.dataset = dataset
        self.clips = clips

    def __len__(self) -> int:
        return len(self.dataset) * self.clips

    def __getitem__(self, index: int) -> dict[str, Any]:
        video, clip = divmod(range(len(self))[index], self.clips)
        return {**self.dataset[video], "clip": clip, "clips": self.clips}


def video_views(dataset: Sequence[dict[str, Any]], *, clips: int) -> VideoViews:
    """The clips that a video is tested by, side by side: item ``video * clips + clip``.

    Args:
        dataset: dicts, one for each video.
        clips: of a video; a sampling places them evenly. Crops are the transform's matter.
    """
    if not isinstance(clips, int) or clips < 1:
        raise UserError(f"clips={clips} of video_views must be a whole number of at least 1.")
    return VideoViews(dataset, clips)
