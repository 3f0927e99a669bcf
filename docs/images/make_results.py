"""Compose results.jpg, README's picture, from what two quickstarts leave.

    python docs/images/make_results.py DETECTION_PICTURES ANNOTATED_VIDEO

The first is the folder pictures/ of quickstart_cascade; the second a video that mvit_det.predict
has annotated with the model of quickstart_actions: see docs/guides/quickstarts.md.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mvit_det.data.decoding.reader import open_video  # noqa: E402

WIDTH, GAP = 1200, 6
PAIRS = (1, 2, 5)  # of the pictures, by the number that their names begin with
FRAMES, SECONDS = 6, 0.3  # of the film strip: how many, and from one to the next
WHITE = (255, 255, 255)


def detections(folder: Path) -> list[Image.Image]:
    """Predictions beside ground truth."""
    paths = [next(folder.glob(f"{number:02d}_*.png")) for number in PAIRS]
    return [Image.open(path).convert("RGB") for path in paths]


def film_strip(path: Path) -> list[Image.Image]:
    """Frames around the middle of a video."""
    with open_video(path) as video:
        start = video.times[len(video.times) // 2] - FRAMES * SECONDS / 2
        numbers = np.searchsorted(video.times, start + SECONDS * np.arange(FRAMES))
        return [Image.fromarray(frame) for frame in video.frames(numbers)]


def row(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one height side by side, as wide as the page."""
    width = (WIDTH - GAP * (len(pictures) - 1)) / len(pictures)
    scaled = [one.resize((int(width), round(one.height * width / one.width))) for one in pictures]
    page = Image.new("RGB", (WIDTH, max(one.height for one in scaled)), WHITE)
    for number, one in enumerate(scaled):
        page.paste(one, (round(number * (width + GAP)), 0))
    return page


def main(pictures: str, video: str) -> None:
    """Two rows on one page."""
    rows = [row(detections(Path(pictures))), row(film_strip(Path(video)))]
    page = Image.new("RGB", (WIDTH, sum(one.height for one in rows) + GAP), WHITE)
    page.paste(rows[0], (0, 0))
    page.paste(rows[1], (0, rows[0].height + GAP))
    page.save(Path(__file__).with_name("results.jpg"), quality=80, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
