"""Workers of data loaders: the settings of their process that they need, and their end.

A forked worker has them. On Windows, on macOS, and from Python 3.14 on everywhere, a worker is a
new interpreter, which knows only what was pickled for it.
"""

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.utils.data import DataLoader

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


def end_with_process(loader: DataLoader) -> DataLoader:
    """Let the workers of a loader end when this process does, also if it is killed.

    torch's workers look for their parent too, but then wait for ever until a batch that does not
    fit into the pipe is read: other workers keep the pipe open.
    """
    loader.worker_init_fn = partial(_begin, loader.worker_init_fn)
    return loader


def _begin(prepare: Callable[[int], None] | None, worker_id: int) -> None:
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    if prepare:
        prepare(worker_id)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)
