"""Small COCO files whose values a seeded generator replaces by values of the wrong kind."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

SQUARE = [[5, 5, 25, 5, 25, 25, 5, 25]]
RLE = {"size": [48, 64], "counts": [245, 20, 28, 20, 48 * 64 - 313]}
VALUES = [
    *(None, True, False, "", "0", "1", "x", "12", "\ud800", "a\0b", 0, -1, 1, 2, 7, 0.5, 64.0),
    *(float("nan"), float("inf"), 1e300, -1e300, 10**30, 10**400, 2**63, [], {}, [[]], [{}]),
    *([1, 2, 3, 4], [1, 2, "3", 4], [[1, 2, 3, 4, 5, 6]], [[1e9, 0, -1e9, 5, 3, 3]], ["a"], SQUARE),
    *(
        [[None] * 6],
        {"counts": "garbage!!", "size": [48, 64]},
        {"counts": [3, 4], "size": [48, 64]},
    ),
    *({"counts": 5, "size": 3}, {"counts": [-1, 9], "size": [48, 64]}, {"counts": "", "size": [4]}),
    *({"id": 1}, {"1": {"id": 1}}, [5, 5, -20, 20], [5, 5, float("nan"), 20]),
    *({"counts": [True, 48 * 64 - 1], "size": [48, 64]}, {"counts": "zzz", "size": [48, 64]}),
]


def copied(document: Any) -> Any:
    """Return a copy in which no two places share a value."""
    return json.loads(json.dumps(document))


def sound() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return annotations of three pictures, with polygons and RLE, and results for them."""
    images = [dict(id=i, file_name=f"{i}.png", width=64, height=48) for i in (1, 2, 3)]
    categories = [dict(id=7, name="fig", supercategory="none"), dict(id=3, name="date")]
    annotations = [
        dict(id=k, image_id=1 + k % 3, category_id=(3, 7)[k % 2], bbox=[5, 5, 20, 20], area=400)
        for k in range(1, 9)
    ]
    for entry in annotations:
        entry.update(iscrowd=0, segmentation=RLE if entry["id"] % 4 == 0 else SQUARE)
    results = [
        dict(image_id=i, category_id=3, bbox=[5, 5, 20, 20], score=0.5, segmentation=RLE)
        for i in (1, 2, 3)
    ]
    return copied(dict(images=images, categories=categories, annotations=annotations)), results


def _places(node: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value of a JSON document."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from _places(value, (*path, key))


def _change(document: Any, rng: np.random.Generator) -> None:
    """Replace, remove, or repeat one value; the document's levels are about equally likely."""
    by_depth: dict[int, list[tuple]] = {}
    for path in _places(document):
        by_depth.setdefault(len(path), []).append(path)
    levels = [0, *by_depth][2 if rng.random() < 0.95 else 1 :]
    paths = by_depth[int(rng.choice(levels or [1]))]
    *parents, key = paths[rng.integers(len(paths))]
    node = document
    for parent in parents:
        node = node[parent]
    action = rng.random()
    if action < 0.15:
        del node[key]
    elif action < 0.25 and isinstance(node, list):
        node.append(copied(node[key]))
    elif action < 0.3 and isinstance(node[key], list):
        node[key] = {str(index): value for index, value in enumerate(node[key])}
    else:
        node[key] = copied(VALUES[rng.integers(len(VALUES))])


def _text(document: Any, rng: np.random.Generator) -> bytes:
    """Write a document; sometimes with a byte order mark, cut short, or nested without end."""
    text = json.dumps(document).encode()
    kind = rng.integers(20)
    if kind == 0:
        return b"\xef\xbb\xbf" + text
    if kind == 1:
        return text[: rng.integers(len(text))]
    if kind == 2:
        return b'{"info": ' + b"[" * 100_000 + b"]" * 100_000 + b", " + text[1:]
    if kind == 3:
        return text.replace(b"48", b"9" * 5000, 1)
    return text


def mutated(seed: int) -> tuple[bytes, bytes]:
    """Return an annotation file and a result file, the one or the other with a few changes."""
    rng = np.random.default_rng(seed)
    documents = [copied(document) for document in sound()]
    which = int(rng.random() < 0.25)
    for _ in range(rng.integers(1, 3)):
        if documents[which]:
            _change(documents[which], rng)
    texts = [json.dumps(document).encode() for document in documents]
    texts[which] = _text(documents[which], rng)
    return texts[0], texts[1]
