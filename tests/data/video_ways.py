"""All readers of video files in the package: training, evaluation and prediction."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from mvit_det.data import ActionClipMapper, ClipMapper, KeyFrameSampling, open_video
from mvit_det.data.file_kinds import is_video_name
from mvit_det.predict.open_frames import frame_at, open_frames, read_frames, read_groups
from mvit_det.predict.sources import find_sources

SECONDS = np.arange(-0.33, 7, 0.45)


class AllFrames:
    """Chooses every frame."""

    def train(self, times: np.ndarray) -> np.ndarray:
        return np.arange(len(times))


def shown_at(second: float, picture: np.ndarray, index: int | None = None) -> SimpleNamespace:
    """A picture (RGB) and its second; without an index it was requested by the second."""
    return SimpleNamespace(second=second, picture=np.asarray(picture), index=index)


def clips(path: Path) -> Iterator[SimpleNamespace]:
    mapper = ClipMapper(True, sampling=AllFrames(), transform=torch.tensor)
    with open_video(path) as video:
        sample = mapper({"file_name": str(path), "label": 0})
        for index, picture in enumerate(sample["inputs"]):
            yield shown_at(video.times[index], picture, index)


class Unchanged:
    """A transform of actions that changes nothing."""

    def __call__(self, frames: np.ndarray, boxes: np.ndarray):
        return torch.tensor(frames), torch.tensor(boxes)

    def visible_area(self, height: int, width: int) -> tuple:
        return 0, 0, 1, 1


def actions(path: Path) -> Iterator[SimpleNamespace]:
    mapper = ActionClipMapper(False, sampling=KeyFrameSampling(1, 1), transform=Unchanged())
    empty = np.zeros((0, 4), np.float32)
    for second in SECONDS:
        item = dict(file_name=str(path), video="a", second=second, time=second, boxes=empty)
        sample = mapper(item | {"labels": empty})
        if sample["unreadable"] is None:
            yield shown_at(second, sample["inputs"][0])


def streamed(path: Path) -> Iterator[SimpleNamespace]:
    assert is_video_name(path.name)
    [source] = find_sources([path], "elsewhere")
    for frame in source.frames():
        yield shown_at(frame.seconds, frame.image[..., ::-1], frame.index)


def windows(path: Path) -> Iterator[SimpleNamespace]:
    with open_frames(path, None, None) as video:
        for index, image in enumerate(read_frames(video, len(video), 2**20)):
            yield shown_at(video.times[index], image[..., ::-1], index)


def key_frames(path: Path) -> Iterator[SimpleNamespace]:
    def fail(place, error):
        raise error

    with open_frames(path, None, None) as video:
        seconds = SECONDS[video.end > SECONDS]
        wanted = [[frame_at(video, second)] for second in seconds]
        for place, [picture] in read_groups(video, wanted, fail):
            yield shown_at(seconds[place], picture)


WAYS = {
    "clips": clips,
    "evaluation of actions": actions,
    "predict": streamed,
    "predict windows": windows,
    "predict key frames": key_frames,
}
