"""From a key frame of a video to a clip around it, with the boxes of its people."""

import os
from typing import Any

import numpy as np
import torch

from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.data.video.mapper import FramesMapper, black_frames

# Seconds: lists of seconds and videos are cut by different rules; what is further out is a mistake.
OUTSIDE = 1.0


class ActionClipMapper(FramesMapper):
    """Decodes the frames around a key frame, and transforms them and its boxes.

    Items are those of `action_clips`: "file_name" (a video file or a folder of frames), "video" and
    "second" (what the key frame is called), "time" (its seconds from the start of the file), "boxes"
    (N, 4) as shares of the frame, "labels" (N, K) of 0 and 1, and for a folder of frames optionally
    "fps". N may be 0.

    Samples have "inputs" (3, T, h, w), "boxes" float32 (N, 4) in pixels of them, "labels" float32
    (N, K), "file_name"; and in testing "video", "second", "original_boxes" float32 (N, 4) as the
    item has them, "shown" float32 (4,), the part of the frame that is seen, as shares of it, and
    "unreadable".

    Bad is a clip whose video is missing or has no pictures, whose frames cannot be decoded, or whose
    key frame is more than a second outside of the video, or in a folder from any picture; see
    `SampleMapper` for what becomes of it. In testing its "inputs" are zeros, its boxes stay, and an
    evaluator leaves them out, so that people who are there count as not found.

    Args:
        transform: from frames uint8 (T, H, W, 3) and boxes as shares to "inputs" and "boxes": see
            `action_train_transform` and `action_test_transform`.
        sampling: chooses frames ``around(times, time)``, like `KeyFrameSampling`.
        max_bad_share, min_seen: as for `SampleMapper`.
    """

    kind = "clip"
    in_testing = "left out, so that its people count as not found"

    def name(self, item: dict[str, Any]) -> str:
        """The video and the second: one damaged picture makes no bad video."""
        return f"{item['file_name']} at second {item['second']:g}"

    def known(self, item: dict[str, Any]) -> dict[str, Any]:
        """See `SampleMapper.known`."""
        # Copies, since the arrays are the data set's.
        labels = torch.tensor(item["labels"], dtype=torch.float32)
        known = {"labels": labels, "file_name": item["file_name"]}
        if not self.is_train:
            known.update(video=item["video"], second=item["second"])
            known["original_boxes"] = torch.tensor(item["boxes"], dtype=torch.float32)
        return known

    def chosen(self, video: OpenVideo, item: dict[str, Any]) -> np.ndarray:
        """See `FramesMapper.chosen`."""
        time = item["time"]
        # Before its first picture a video shows that one, be it late.
        if not -OUTSIDE <= time <= video.end + OUTSIDE:
            start = item["second"] - time
            raise VideoError(
                f"the file has seconds {start:g} to {start + video.end:g} only, if it begins at second "
                f"{start:g}"
            )
        # A video shows a frame until the next one, a folder has lost those between them.
        if os.path.isdir(item["file_name"]) and np.abs(video.times - time).min() > OUTSIDE:
            raise VideoError(f"no frame of it is within {OUTSIDE:g} s of that second")
        return self.sampling.around(video.times, time)

    def blank(self) -> np.ndarray:
        """As many black frames as a clip has."""
        return black_frames(lambda times: self.sampling.around(times, 1.0))

    def transformed(self, found: np.ndarray, item: dict[str, Any]) -> dict[str, Any]:
        """See `SampleMapper.transformed`."""
        clip, boxes = self.transform(found, item["boxes"])
        if self.is_train:
            return {"inputs": clip, "boxes": boxes}
        shown = torch.tensor(self.transform.shown(*found.shape[1:3]))
        return {"inputs": clip, "boxes": boxes, "shown": shown}
