"""The one exception type for what a user can cause and mend, and words for its messages."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
