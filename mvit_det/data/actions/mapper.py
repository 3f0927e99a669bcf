"""Mapper from a key frame of a video to the clip around it, with the boxes of its people."""

import os
from typing import Any

import numpy as np
import torch

from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.data.video.mapper import FramesMapper, black_frames

# Seconds that a key frame may lie outside its video: annotations and videos are cut by different
# rules. A key frame further out is a mistake.
OUTSIDE = 1.0


class ActionClipMapper(FramesMapper):
    """Decodes the frames around a key frame, and transforms them together with the boxes.

    Items are those of `ActionClips`; here N may be 0. Samples have the keys

    * "inputs": float (3, T, h, w), normalised;
    * "boxes": float32 (N, 4), x1, y1, x2, y2 in pixels of "inputs";
    * "labels": float32 (N, K), 0 or 1;
    * "file_name";
    * in testing also "video", "second", "original_boxes" (float32 (N, 4) as in the item),
      "visible_area" (float32 (4,), x1, y1, x2, y2 of the part of the frame in "inputs", as
      fractions) and "unreadable".

    A clip is bad if its video is missing or has no pictures, if its frames cannot be decoded, or if
    its key frame is more than a second outside the video (in a folder: away from every picture);
    see `SampleMapper` for how bad clips are handled. In testing "inputs" are then zeros, boxes
    stay, and the evaluator leaves them out, so that the people in it count as not found.

    Args:
        transform: from frames uint8 (T, H, W, 3) and boxes as fractions to "inputs" and "boxes":
            see `action_train_transform` and `action_test_transform`.
        sampling: chooses frame indices by ``around(times, time)``, like `KeyFrameSampling`.
        max_bad_share: as for `SampleMapper`.
        min_seen: as for `SampleMapper`.
    """

    kind = "clip"
    in_testing = "left out, so that its people count as not found"
    transform: Any  # in testing also has the method `visible_area`

    def name(self, item: dict[str, Any]) -> str:
        """Name the video and the second: one damaged picture does not make the whole video bad."""
        return f"{item['file_name']} at second {item['second']:g}"

    def known(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return the entries that need no decoding: labels and names, in testing also boxes."""
        # Copies, since the arrays belong to the data set.
        labels = torch.tensor(item["labels"], dtype=torch.float32)
        known = {"labels": labels, "file_name": item["file_name"]}
        if not self.is_train:
            known.update(video=item["video"], second=item["second"])
            known["original_boxes"] = torch.tensor(item["boxes"], dtype=torch.float32)
        return known

    def choose_frames(self, video: OpenVideo, item: dict[str, Any]) -> np.ndarray:
        """Choose the frame indices (T,) around the key frame.

        Raises:
            VideoError: the key frame is more than `OUTSIDE` seconds outside the video, or in a
                folder away from every picture.
        """
        start = item["second"] - item["time"]
        check_key_frame(video, item["time"], start, os.path.isdir(item["file_name"]))
        return self.sampling.around(video.times, item["time"])

    def blank(self) -> np.ndarray:
        """Return a clip of black frames: uint8 (T, 64, 64, 3)."""
        return black_frames(lambda times: self.sampling.around(times, 1.0))

    def transformed(self, found: np.ndarray, item: dict[str, Any]) -> dict[str, Any]:
        """Transform frames uint8 (T, H, W, 3) and the item's boxes; returns the other entries."""
        clip, boxes = self.transform(found, item["boxes"])
        if self.is_train:
            return {"inputs": clip, "boxes": boxes}
        visible = torch.tensor(self.transform.visible_area(*found.shape[1:3]))
        return {"inputs": clip, "boxes": boxes, "visible_area": visible}


def check_key_frame(video: OpenVideo, time: float, start: float, is_folder: bool) -> None:
    """Check that a video has a frame at or near a key frame.

    Args:
        video: opened.
        time: of the key frame in seconds from the beginning of the file.
        start: second of the movie at which the file begins, for the message.
        is_folder: whether the video is a folder of frames.

    Raises:
        VideoError: as for `ActionClipMapper.choose_frames`.
    """
    # Before its first picture, however late, a video shows that picture.
    if not -OUTSIDE <= time <= video.end + OUTSIDE:
        raise VideoError(
            f"the file has only the seconds {start:g} to {start + video.end:g}, if it begins "
            f"at second {start:g}"
        )
    # In a video a frame lasts until the next one; in a folder, a gap is a loss of pictures.
    if is_folder and np.abs(video.times - time).min() > OUTSIDE:
        raise VideoError(f"no frame of it is within {OUTSIDE:g} s of that second")
