"""Frames resized as by the decoder of the released code, which trained on such frames.

PySlowFast (slowfast/datasets/kinetics.py) decodes with torchvision's ``video_reader``, which
(torchvision/csrc/io/decoder) converts a frame to RGB and resizes it in one call of FFmpeg's
swscale, with SWS_AREA: an output pixel is the mean of the area that it covers. Frames smaller than
the result are enlarged bilinearly.

NOTE: pixels equal those of that call on the same FFmpeg, to the bit, with three exceptions, where
torchvision is wrong: frames that are tagged with another colour matrix than BT.601's are converted
by theirs; frames are turned by their display matrix; and in frames that have the size already, the
last columns are converted if the width is not a multiple of 8, which FFmpeg leaves black in
torchvision's unaligned memory. Which FFmpeg the released models were trained with is not known.
"""

import av
import numpy as np
from av.video.reformatter import VideoReformatter

# Images and frames of a more extreme aspect ratio are refused: if only the short side is set, they
# would exceed any memory, and if the long side is limited, they would shrink to almost nothing.
MAX_ASPECT = 100


def decoded_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Compute the (height, width) of frames resized to a shorter side; halves are rounded up.

    Raises:
        ValueError: the aspect ratio is above `MAX_ASPECT`.
    """
    short, long = sorted((height, width))
    if long > MAX_ASPECT * short:
        raise ValueError(
            f"a frame of {height} x {width} (H x W) cannot be resized: one side is more than "
            f"{MAX_ASPECT} times the other"
        )
    resized = (2 * long * short_side + short) // (2 * short)
    return (short_side, resized) if height == short else (resized, short_side)


def resized(picture: np.ndarray, short_side: int | None) -> np.ndarray:
    """Resize a picture that is not from a video file: RGB uint8 (H, W, 3) to a shorter side.

    Args:
        picture: it is returned as it is if it has that size.
        short_side: in pixels; None: the size stays.

    Raises:
        ValueError: as for `decoded_size`.
    """
    stored = picture.shape[0], picture.shape[1]
    height, width = stored if short_side is None else decoded_size(*stored, short_side)
    if (height, width) == stored:
        return picture
    # Pictures have no position of colour samples, by which this converter moves those of videos.
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = VideoReformatter().reformat(frame, width, height, interpolation="AREA", threads=1)
    return frame.to_ndarray()
