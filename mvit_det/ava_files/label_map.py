"""Read label maps: the names of action ids."""

import os
import re
from collections import Counter
from pathlib import Path

from mvit_det.ava_files.rows import numbered_lines
from mvit_det.errors import UserError, printable, shorten_list

_FORMATS = 'it must be AVA\'s .pbtxt (item { name: "stand" id: 12 }) or have lines "12: stand"'
_TEXT = r'"(?:\\.|[^"\\])*"' + r"|'(?:\\.|[^'\\])*'"
_ITEM = re.compile(rf"\{{((?:{_TEXT}|[^{{}}\"'])*)\}}")
_NAME = re.compile(rf"\bname\s*:\s*({_TEXT})")
_ID = re.compile(r"\b(?:label_id|id)\s*:\s*(\d+)")
_LINE = re.compile(r"(\d+)\s*:\s*(\S.*)")


def read_label_map(path: str | os.PathLike) -> dict[int, str]:
    """Read action names by id from AVA's .pbtxt (id or label_id), or lines "id: name".

    Returns:
        {id: name}, sorted by id; ids are at least 1 and may have gaps.

    Raises:
        UserError: the file has neither format, or an id or a name occurs twice.
    """
    path = Path(path)
    lines = numbered_lines(path, "The label map")
    text = "\n".join(line for _, line in lines)
    if "{" in text and not any(_LINE.fullmatch(line) for _, line in lines[:1]):
        pairs = [_parse_item(path, item) for item in _ITEM.findall(text)]
    else:
        pairs = [_parse_line(path, number, line) for number, line in lines]
    if not pairs:
        raise UserError(f"The label map {path} has no action: {_FORMATS}.")
    for word, values in zip(("id", "name"), zip(*pairs)):
        twice = sorted(value for value, count in Counter(values).items() if count > 1)
        if twice:
            raise UserError(
                f"The label map {path} has the {word} {shorten_list(twice)} more than once: "
                "each action needs a unique id and name."
            )
    return dict(sorted(pairs))


def _parse_item(path: Path, item: str) -> tuple[int, str]:
    name, number = _NAME.search(item), _ID.search(_NAME.sub("", item))
    if not name or not name[1][1:-1].strip() or not number or int(number[1]) < 1:
        text = printable(" ".join(item.split()))
        raise UserError(
            f"The label map {path} has the item {{{text}}}, which lacks a name or an id from 1 "
            f"on: {_FORMATS}."
        )
    return int(number[1]), re.sub(r"\\(.)", r"\1", name[1][1:-1].strip())


def _parse_line(path: Path, number: int, line: str) -> tuple[int, str]:
    match = _LINE.fullmatch(line)
    if not match or int(match[1]) < 1:
        excerpt = printable(line[:80])
        raise UserError(f"The label map {path}, line {number}, is {excerpt!r}: {_FORMATS}.")
    return int(match[1]), match[2]
