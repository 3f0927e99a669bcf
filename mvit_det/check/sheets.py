"""Contact sheets: the worst pictures of each kind of finding, with the box that is meant."""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image, ImageDraw, ImageFile

from mvit_det.data import open_video
from mvit_det.data.checks.findings import Box, Finding
from mvit_det.data.image_files import current_pictures
from mvit_det.evaluation.drawing.labels import panel
from mvit_det.evaluation.drawing.side_by_side import tile_grid
from mvit_det.evaluation.writing import write_atomic

_SIDE, _CAPTION, _COLUMNS = 240, 54, 6  # pixels; pixels; tiles
_CONTEXT = 48  # pixels around a box at least
_GREY, _MARK = (160, 160, 160), (255, 0, 160)
_FARTHEST = 3  # sides of the picture beyond which a box is cut


def draw_sheets(worst: Mapping[str, Sequence[Finding]], folder: Path) -> list[Path]:
    """Write ``folder``/KIND.png for each kind that has a picture that can be read.

    Raises:
        UserError: a file cannot be written.
    """
    paths = []
    for kind, findings in worst.items():
        tiles = [tile for tile in map(_tile, findings) if tile is not None]
        if tiles:
            columns = max(1, _COLUMNS * _SIDE // tiles[0].width)
            sheet = Image.fromarray(tile_grid(tiles, min(columns, len(tiles))))
            # NOTE: encode in memory, since on a full disk Pillow may truncate a file silently.
            encoded = io.BytesIO()
            sheet.save(encoded, "PNG")
            paths.append(folder / f"{re.sub(r'[^a-z0-9]+', '_', kind.lower())}.png")
            write_atomic(paths[-1], encoded.getvalue())
    return paths


def _tile(finding: Finding) -> Image.Image | None:
    """Draw one or two pictures above a caption; None if the first cannot be read at all."""
    paths = [finding.picture, finding.other] if finding.other else [finding.picture]
    pictures = [_read(path) for path in paths]
    if pictures[0] is None:
        return None
    tile = Image.new("RGB", (_SIDE * len(paths), _SIDE + _CAPTION), "white")
    for place, picture in enumerate(pictures):
        if picture is not None:
            tile.paste(_view(picture, finding.box), (_SIDE * place, 0))
    ids = ", ".join(f"{key.removesuffix('_id')} {value}" for key, value in finding.ids.items())
    names = " | ".join(Path(path).name for path in paths)
    caption = panel((f"{names} {ids}".strip()[:80],), (255, 255, 255), 12, tile.width)
    tile.paste(caption, (0, _SIDE + 2), caption)
    return tile


def _read(path: str) -> Image.Image | None:
    """Read a picture as far as it goes, or the first frame of a video, upright and RGB, or None."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.fromarray(current_pictures().read(path, "RGB"))
    except Exception:  # a video, or no picture
        pass
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
    with suppress(Exception), open_video(path) as video:
        return Image.fromarray(video.frames([0])[0])
    return None


def _view(picture: Image.Image, box: Box | None) -> Image.Image:
    """Return a square with the whole picture, or with a box and its surroundings."""
    width, height = picture.size
    left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    if box is not None:
        far = _FARTHEST * max(width, height)
        left, top, right, bottom = (min(max(value, -far), far) for value in box)
        left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
        outlined = left, top, right, bottom
        around = max(_CONTEXT, right - left, bottom - top)
        left, top, right, bottom = left - around, top - around, right + around, bottom + around
        if left >= width or top >= height or right <= 0 or bottom <= 0:  # far from the picture
            left, top, right, bottom = (
                min(left, 0),
                min(top, 0),
                max(right, width),
                max(bottom, height),
            )
    side = max(right - left, bottom - top)
    left, top = left - (side - right + left) / 2, top - (side - bottom + top) / 2
    factor = max(1, int(side / _SIDE))
    region = [value / factor for value in (left, top, left + side, top + side)]
    view = picture.reduce(factor).transform(
        (_SIDE, _SIDE), Image.Transform.EXTENT, region, Image.Resampling.BILINEAR, fillcolor=_GREY
    )
    if box is not None:
        scale = _SIDE / side
        corners = [(value - (left, top)[axis % 2]) * scale for axis, value in enumerate(outlined)]
        ImageDraw.Draw(view).rectangle(corners, outline=_MARK, width=2)
    return view
