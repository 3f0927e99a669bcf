"""Settings of a process that the workers of its data loaders need too.

A forked worker has them. On Windows, on macOS, and from Python 3.14 on everywhere, a worker is a
new interpreter, which knows only what was pickled for it.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mvit_det.errors import UserError

_settings: dict[Callable[..., None], tuple[Any, ...]] = {}


def set_everywhere(function: Callable[..., None], *arguments: Any) -> None:
    """Call ``function(*arguments)``, here and in each worker whose loader has `Settings`."""
    function(*arguments)
    _settings[function] = arguments


class Settings:
    """What `set_everywhere` was given, as a part of the objects that are pickled for a worker."""

    def __getstate__(self) -> dict[Callable[..., None], tuple[Any, ...]]:
        return dict(_settings)

    def __setstate__(self, state: dict[Callable[..., None], tuple[Any, ...]]) -> None:
        for function, arguments in state.items():
            set_everywhere(function, *arguments)


@contextmanager
def needs_pickling() -> Iterator[None]:
    """Explain why the block cannot start the workers of a loader.

    Raises:
        UserError: something that they need cannot be pickled.
    """
    try:
        yield
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error):
            raise
        raise UserError(
            "The workers of a data loader are new interpreters on this system, and a part of "
            f"dataloader cannot be sent to them ({' '.join(str(error).split())}): move functions "
            "and classes of the config file to a module, or set num_workers=0 of dataloader.train "
            "and dataloader.test."
        ) from error
