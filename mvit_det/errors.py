"""The exception for faults that a user can fix, and checks of arguments that raise it."""

import math
import reprlib
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

# Unicode categories of control characters, surrogates, and ends of lines and paragraphs.
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
_LONGEST = 400  # characters of an item in a message


class UserError(ValueError):
    """A fault in the user's input: a path, a config key, an annotation, a checkpoint.

    The message is one sentence that names the offending value and the fix. The command line prints
    it alone, without a traceback.
    """


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Exit with the message of a `UserError` and status 1, or with status 130 on Ctrl-C.

    Raises:
        SystemExit: the block raised `UserError` or `KeyboardInterrupt`.
    """
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def printable(item: Any) -> str:
    """Convert to one line of text that can be encoded.

    File names may contain bytes that are not UTF-8 and ends of lines, JSON lone surrogates.
    """
    text = str(item)
    try:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if text.isprintable():
        return text
    escaped = (c if unicodedata.category(c) not in _UNSEEN else ascii(c)[1:-1] for c in text)
    return "".join(escaped)


def excerpt(item: Any, limit: int = 120) -> str:
    """Return the quoted beginning of a text for a message, as `printable` does."""
    text = printable(item)
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


_BRIEF = reprlib.Repr()
_BRIEF.maxstring, _BRIEF.maxlong, _BRIEF.maxother = 200, 200, 200
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = 20


def brief(value: Any) -> str:
    """Return the `repr` of a value of a file for a message, without the rest of an endless one."""
    text = _BRIEF.repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def shorten_list(items: Iterable[Any], limit: int = 5) -> str:
    """Join the first ``limit`` items for a message: "3, 8, 9 and 14 more"; cut endless ones."""
    items = list(items)
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    shown = [printable(item) for item in items[:limit]]
    cut = (text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..." for text in shown)
    return ", ".join(cut) + rest


def check_number(owner: str, what: str, valid: Callable[[Any], bool], **values: Any) -> None:
    """Refuse arguments that are not numbers, or for which ``valid`` is false.

    Args:
        owner: the class or function that takes the arguments, for the message.
        what: the allowed values, for the message: "from 0 to 1".
        valid: returns whether a number is allowed.
        **values: the arguments by name.

    Raises:
        UserError: names the argument and its value.
    """
    for name, value in values.items():
        if not isinstance(value, Real) or isinstance(value, bool) or not valid(value):
            raise UserError(f"{name}={brief(value)} of {owner} must be {what}.")


def check_count(owner: str, **values: Any) -> None:
    """Raise a `UserError` for values that are not integers of at least 1."""
    whole = "a whole number of at least 1"
    check_number(owner, whole, lambda value: value >= 1 and isinstance(value, Integral), **values)


def check_positive(owner: str, **values: Any) -> None:
    """Raise a `UserError` for values that are not finite numbers above 0."""
    check_number(owner, "a number above 0", lambda value: 0 < value < math.inf, **values)


def check_share(owner: str, **values: Any) -> None:
    """Raise a `UserError` for values that are not numbers from 0 to 1."""
    check_number(owner, "from 0 to 1", lambda value: 0 <= value <= 1, **values)


def check_choice(owner: str, choices: Iterable[Any], **values: Any) -> None:
    """Raise a `UserError` for values that are not among ``choices``."""
    choices = list(choices)
    for name, value in values.items():
        if value not in choices:
            raise UserError(
                f"{name}={brief(value)} of {owner} must be one of {shorten_list(choices, 20)}."
            )


def not_finite(scores: str) -> UserError:
    """Build the error for NaN or infinite scores; ``scores`` is the subject of the message."""
    return UserError(
        f"{scores} are not all finite numbers: the training has diverged or the weights are "
        "damaged; use an earlier checkpoint."
    )


def check_range(owner: str, **values: Any) -> None:
    """Raise a `UserError` for values that are not pairs (smallest, largest); both may be equal."""
    for name, value in values.items():
        pair = list(value) if isinstance(value, Sequence) else []
        if len(pair) != 2 or not all(isinstance(x, Real) for x in pair) or not pair[0] <= pair[1]:
            raise UserError(
                f"{name}={value} of {owner} must be two numbers, a smallest and a largest."
            )


def check_size(owner: str, axes: str, size: Any) -> tuple[int, ...]:
    """Check a size, and return it as a tuple.

    Args:
        owner: the class or function that takes it, for the message.
        axes: names of the axes, such as "height,width" or "frames,height,width".
        size: number of pixels (or frames) along each axis, at least 1.

    Raises:
        UserError: the number of sides is wrong, or a side is below 1.
    """
    sides = tuple(size) if isinstance(size, Sequence) else ()
    if len(sides) != len(axes.split(",")) or min(sides) < 1:
        raise UserError(
            f"size={size} of {owner} must be [{axes}], each at least 1: set it and "
            "model.backbone.input_size in pixels."
        )
    return sides
