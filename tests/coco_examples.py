"""Sound annotations of three pictures, with polygons and RLE, and results for them."""

import json
from typing import Any

SQUARE = [[5, 5, 25, 5, 25, 25, 5, 25]]
RLE = {"size": [48, 64], "counts": [245, 20, 28, 20, 48 * 64 - 313]}
IMAGES = [dict(id=i, file_name=f"{i}.png", width=64, height=48) for i in (1, 2, 3)]
TRUTH = dict(
    images=IMAGES,
    categories=[dict(id=7, name="fig", supercategory="none"), dict(id=3, name="date")],
    annotations=[
        dict(
            id=k,
            image_id=1 + k % 3,
            category_id=(3, 7)[k % 2],
            bbox=[5, 5, 20, 20],
            area=400,
            iscrowd=0,
            segmentation=RLE if k % 4 == 0 else SQUARE,
        )
        for k in range(1, 9)
    ],
)
RESULTS = [
    dict(image_id=i, category_id=3, bbox=[5, 5, 20, 20], score=0.5, segmentation=RLE)
    for i in (1, 2, 3)
]


def sound() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return copies in which no two places share a value."""
    return json.loads(json.dumps(TRUTH)), json.loads(json.dumps(RESULTS))
