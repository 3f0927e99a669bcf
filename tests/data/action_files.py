"""Tiny data sets of actions on disk: csv files in AVA's format, and their videos."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from video_files import numbered_frames, write_frame_folder, write_video

from mvit_det.data import action_clips
from mvit_det.errors import UserError

# of the people in `write_actions`, x1, y1, x2, y2 as shares of the frame
LEFT, RIGHT = (0.05, 0.1, 0.45, 0.9), (0.55, 0.2, 0.95, 1.0)
LEFT_TEXT, RIGHT_TEXT = (",".join(map(str, box)) for box in (LEFT, RIGHT))
LABEL_MAP = (
    'item {\n  name: "stand"\n  id: 1\n}\nitem {\n  name: "bend/bow (at the waist)"\n  id: 3\n}\n'
)


def write_csv(path: Path, rows: Iterable[str | Sequence]) -> Path:
    """Write rows, each given as text or as fields."""
    lines = [row if isinstance(row, str) else ",".join(map(str, row)) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_text(path: Path, text: str = LABEL_MAP) -> Path:
    """Write a text file, by default a label map of the actions 1 and 3."""
    path.write_text(text)
    return path


def write_clips(
    folder: Path, names: Sequence[str], seconds: float = 4, fps: int = 10, frames: bool = False
) -> Path:
    """Write a video of 64 x 48 numbered frames for each name, or a folder of its frames."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = numbered_frames(round(seconds * fps))
    for name in names:
        if frames:
            write_frame_folder(folder / name, pixels, name + "_{:06d}.jpg")
        else:
            write_video(folder / f"{name}.mp4", pixels, fps)
    return folder


def write_actions(path: Path, names: Sequence[str], seconds: Sequence[float] = (1, 2, 3)) -> Path:
    """Per second of each video: a person on the left with actions 1 and 3, on the right with 1."""
    rows = [
        (name, f"{second:04d}", *box, action, person)
        for name in names
        for second in seconds
        for box, action, person in ((LEFT, 1, 0), (LEFT, 3, 0), (RIGHT, 1, 1))
    ]
    return write_csv(path, rows)


def fault(*args, **more):
    """Return the sentence of the error that loading raises."""
    with pytest.raises(UserError) as error:
        action_clips(*args, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


def annotated(tmp_path, *rows):
    return write_csv(tmp_path / "actions.csv", rows)


def proposed(tmp_path, *rows):
    return write_csv(tmp_path / "proposals.csv", rows)
