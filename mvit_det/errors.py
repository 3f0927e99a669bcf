"""The one exception type for what a user can cause and mend, and checks that raise it."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any


class UserError(ValueError):
    """A fault in what the user gave: a path, a config key, an annotation, a checkpoint.

    Its message is one clear sentence that names the offending value and the fix. The command line
    prints it alone, without a traceback.
    """


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the program with the sentence of a `UserError` and status 1; with 130 on Ctrl-C."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def printable(item: Any) -> str:
    """As text that can be encoded: names of files may hold bytes that are no UTF-8."""
    return str(item).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def some(items: Iterable[Any], limit: int = 5) -> str:
    """List the first few items in words: "3, 8, 9 and 14 more"."""
    items = list(items)
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(printable(item) for item in items[:limit]) + rest


def check_number(owner: str, what: str, valid: Callable[[Any], bool], **values: Any) -> None:
    """Refuse arguments of ``owner`` that are no numbers, or for which ``valid`` is false.

    Args:
        what: they must be, for the sentence: "from 0 to 1".
    """
    for name, value in values.items():
        if not isinstance(value, Real) or isinstance(value, bool) or not valid(value):
            raise UserError(f"{name}={value!r} of {owner} must be {what}.")


def check_count(owner: str, **values: Any) -> None:
    """Refuse what is no whole number from 1 on."""
    whole = "a whole number of at least 1"
    check_number(owner, whole, lambda value: isinstance(value, Integral) and value >= 1, **values)


def check_positive(owner: str, **values: Any) -> None:
    """Refuse what is no number above 0, and infinity."""
    check_number(owner, "a number above 0", lambda value: 0 < value < math.inf, **values)


def check_share(owner: str, **values: Any) -> None:
    """Refuse what is no number from 0 to 1."""
    check_number(owner, "from 0 to 1", lambda value: 0 <= value <= 1, **values)


def check_choice(owner: str, choices: Iterable[Any], **values: Any) -> None:
    """Refuse what is not among ``choices``."""
    choices = list(choices)
    for name, value in values.items():
        if value not in choices:
            raise UserError(f"{name}={value!r} of {owner} must be one of {some(choices, 20)}.")


def not_finite(scores: str) -> UserError:
    """Say what has become of a model whose ``scores``, in words, cannot be compared."""
    return UserError(
        f"{scores} are not all finite numbers: the training has diverged or the weights are damaged; "
        "use an earlier checkpoint."
    )


def check_range(owner: str, **values: Any) -> None:
    """Refuse what is not two numbers in ascending order, of which the second may be the first."""
    for name, value in values.items():
        pair = list(value) if isinstance(value, Sequence) else []
        if len(pair) != 2 or not all(isinstance(x, Real) for x in pair) or not pair[0] <= pair[1]:
            raise UserError(
                f"{name}={value} of {owner} must be two numbers, a smallest and a largest."
            )


def check_size(owner: str, axes: str, size: Any) -> tuple[int, ...]:
    """Return ``size``, the length along each of the ``axes`` ("height,width"), as a tuple."""
    sides = tuple(size) if isinstance(size, Sequence) else ()
    if len(sides) != len(axes.split(",")) or min(sides) < 1:
        raise UserError(
            f"size={size} of {owner} must be [{axes}] with sides in pixels, as must "
            "model.backbone.input_size."
        )
    return sides
