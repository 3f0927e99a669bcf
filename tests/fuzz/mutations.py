"""Strategies of valid documents with faults: JSON, text, and bytes."""

import json
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy], Any]

# Characters that end lines, columns or quotations somewhere, and some that cannot be printed.
CHARACTERS = "\0\t,; \"'\\{}[]():=#$&*!%|<>@\r\n\x0b\x0c\x85\x1c\x1b\u2028\u202e\ufeff\uffff\ud800"
WORDS = ["", "-1", "1.5", "1e999", "nan", "-inf", "null", "true", "1_0", "0x10", "{}", '"x', "None"]
WORDS += ["\uff11", "\u00b2", "\u2028", "\ud800", "~", "9" * 20, "9" * 5000, "[" * 20_000]
WORDS += ["x" * 140_000, "../../etc/passwd", "-0", "1e-400", "0" * 400 + "1", "%s%n", "CON", "a\0b"]
SCALARS = [None, True, False, "", "0", "1", "x", "12", "\ud800", "a\0b", "\u2028", 0, -1, 1, 2, 7]
SCALARS += [0.5, 64.0, float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 5e-324, -0.0]
SCALARS += [2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30, 10**400, "x" * 5000]
_DEEP = "lists in lists"  # in place of them

_any_text = st.text(st.characters(exclude_categories=()), max_size=4)
_leaves = (
    st.sampled_from(SCALARS) | st.integers(-(2**65), 2**65) | st.floats(allow_nan=True) | _any_text
)
values = _leaves | st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_any_text, inner, max_size=3),
    max_leaves=6,
)


def copied(document: Any) -> Any:
    """Return a copy in which no two places share a value."""
    return json.loads(json.dumps(document))


def _places(node: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value of a JSON document."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from _places(value, (*path, key))


def _at(document: Any, path: tuple) -> Any:
    for key in path:
        document = document[key]
    return document


def change_json(draw: Draw, document: Any, more: st.SearchStrategy = values) -> None:
    """Replace, remove, move or repeat one value; all depths are about equally likely."""
    by_depth: dict[int, list[tuple]] = {}
    for path in _places(document):
        by_depth.setdefault(len(path), []).append(path)
    if not by_depth:
        return
    # the two upper levels are few values, and their faults hide all others
    deep = [depth for depth in by_depth if depth > 2] or list(by_depth)
    depth = draw(st.sampled_from(list(by_depth) + 4 * deep))
    *parents, key = draw(st.sampled_from(by_depth[depth]))
    node = _at(document, tuple(parents))
    action = draw(st.integers(0, 9))
    if action == 0:
        del node[key]
    elif action == 1 and isinstance(node, list):
        node.append(copied(node[key]))
    elif action == 2 and isinstance(node[key], list):
        node[key] = {str(index): value for index, value in enumerate(node[key])}
    elif action == 3:
        other = draw(st.sampled_from(by_depth[draw(st.sampled_from(list(by_depth)))]))
        node[key] = copied(_at(document, other))
    elif action == 4 and isinstance(node, dict):
        node[draw(_any_text)] = node.pop(key)
    elif action == 5:
        node[key] = draw(st.sampled_from([[node[key]], [[node[key]]], {"0": node[key]}, _DEEP]))
    else:
        node[key] = copied(draw(more))  # which may be one object each time


@st.composite
def json_files(draw: Draw, document: Any, more: st.SearchStrategy = values) -> bytes:
    """Draw the text of a JSON document with a few faults."""
    document = copied(document)
    for _ in range(draw(st.integers(1, 3))):
        change_json(draw, document, more)
    depth = draw(st.sampled_from([50, 900, 100_000]))
    text = json.dumps(document).replace(f'"{_DEEP}"', "[" * depth + "]" * depth)
    if draw(st.integers(0, 9)) == 0:  # a key twice
        keys = list(re.finditer(r'"[^"\\]*": ', text))
        if keys:
            key = draw(st.sampled_from(keys))
            value = json.dumps(draw(more))
            text = f"{text[: key.start()]}{key[0]}{value}, {text[key.start() :]}"
    return draw(damaged(text.encode()))


@st.composite
def texts(draw: Draw, text: str, words: list[str] = WORDS) -> str:
    """Draw a text with one to three faults."""
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.sampled_from(_EDITS))(draw, text, words)
    return text


def _replace_word(draw: Draw, text: str, words: list[str]) -> str:
    found = list(re.finditer(r"[\w.]+|\W", text))
    if not found:
        return draw(st.sampled_from(words))
    at = draw(st.sampled_from(found))
    return text[: at.start()] + draw(st.sampled_from(words) | _any_text) + text[at.end() :]


def _replace_number(draw: Draw, text: str, words: list[str]) -> str:
    found = list(re.finditer(r"[0-9.]+", text))
    if not found:
        return text
    at = draw(st.sampled_from(found))
    number = st.integers(-(2**70), 2**70).map(str) | st.floats().map(str) | st.sampled_from(words)
    return text[: at.start()] + draw(number) + text[at.end() :]


def _insert_character(draw: Draw, text: str, _: list[str]) -> str:
    place = draw(st.integers(0, len(text)))
    return text[:place] + draw(st.sampled_from(CHARACTERS)) + text[place:]


def _cut(draw: Draw, text: str, _: list[str]) -> str:
    return text[: draw(st.integers(0, len(text)))]


def _replace_all(draw: Draw, text: str, _: list[str]) -> str:
    return text.replace(draw(st.sampled_from(",; \t:.")), draw(st.sampled_from(",; \t\0")))


def _other_line_ends(draw: Draw, text: str, _: list[str]) -> str:
    return text.replace("\n", draw(st.sampled_from(["\r\n", "\r", "\n\n", "\n\r", " ", "\x85"])))


def _change_lines(draw: Draw, text: str, _: list[str]) -> str:
    lines = text.splitlines(keepends=True) or [""]
    row = draw(st.integers(0, len(lines) - 1))
    changed = [lines[:row] + lines[row + 1 :], [*lines[:row], lines[row], *lines[row:]]]
    return "".join(draw(st.sampled_from([*changed, lines[::-1], lines * 40])))


_EDITS = [_replace_word, _replace_number, _insert_character, _cut, _replace_all]
_EDITS += [_other_line_ends, _change_lines, _replace_number, _replace_word]


@st.composite
def text_files(draw: Draw, text: str, words: list[str] = WORDS) -> bytes:
    """Draw the bytes of a text with faults."""
    return draw(damaged(draw(texts(text, words)).encode("utf-8", "surrogatepass")))


@st.composite
def damaged(draw: Draw, data: bytes) -> bytes:
    """Draw the bytes of a text: mostly as they are, else in another encoding or damaged."""
    kind = draw(st.integers(0, 19))
    if kind == 0:
        return b"\xef\xbb\xbf" + data
    if kind == 1:
        return data[: draw(st.integers(0, len(data)))]
    if kind == 2:
        text = data.decode("utf-8", "surrogatepass")
        return text.encode(
            draw(st.sampled_from(["utf-16", "utf-16-be", "utf-32", "utf-7"])),
            "surrogatepass" if draw(st.booleans()) else "replace",
        )
    if kind == 3:
        return draw(st.sampled_from([b"", b"\0", b"\xff", b"\x1f\x8b\x08", b"PK\x03\x04"])) + data
    if kind == 4:
        return draw(binaries(data))
    if kind == 5:
        place = draw(st.integers(0, len(data)))
        return data[:place] + b"[" * 100_000 + b"]" * 100_000 + data[place:]
    if kind == 6:
        return re.sub(rb"[0-9]+", b"9" * 5000, data, count=1)
    return data


_NUMBERS = [0, 1, 2, 3, 127, 128, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


@st.composite
def binaries(draw: Draw, data: bytes, head: int = 128) -> bytes:
    """Draw the bytes of a file with one to four faults, half of them in its header.

    Args:
        data: the valid file.
        head: bytes of the header.
    """
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            return data
        last = len(data) - 1
        place = draw(
            st.integers(0, min(head, last))
            | st.integers(0, last)
            | st.integers(max(last - 64, 0), last)
        )
        size = draw(st.sampled_from([1, 2, 4, 8, 30, 400]))
        kind = draw(st.integers(0, 7))
        if kind <= 1:
            new = bytes([data[place] ^ 1 << draw(st.integers(0, 7))])
            data = data[:place] + new + data[place + 1 :]
        elif kind == 2:
            number, code = (
                draw(st.sampled_from(_NUMBERS)),
                draw(st.sampled_from(["<I", ">I", "<H", ">H", "B"])),
            )
            width = struct.calcsize(code)
            new = struct.pack(code, number % 256**width)
            data = data[:place] + new + data[place + width :]
        elif kind == 3:
            data = data[:place] + data[place + size :]
        elif kind == 4:
            data = data[:place] + draw(st.binary(min_size=1, max_size=8)) + data[place:]
        elif kind == 5:
            data = data[: place + size] + data[place:]
        elif kind == 6:
            data = data[:place] + bytes(min(size, last - place + 1)) + data[place + size :]
        else:
            data = data[:place]
    return data
