"""Communication between processes of a distributed run; every call also works in one process."""

from functools import cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

# The processes of this machine: set once by create_local_process_group.
_local_group: dist.ProcessGroup | None = None


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes over all machines."""
    return dist.get_world_size() if _distributed() else 1


def get_rank() -> int:
    """Return the index of this process among all of them."""
    return dist.get_rank() if _distributed() else 0


def is_main_process() -> bool:
    """Return whether this process logs, writes and saves."""
    return not get_rank()


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Group the processes of each machine; call once in every process, after initialisation."""
    global _local_group
    assert _local_group is None, "The local process group exists already."
    world = get_world_size()
    if world % num_workers_per_machine:
        raise ValueError(f"{world} processes don't make machines of {num_workers_per_machine}.")
    if not _distributed():
        return
    # new_group is collective: every process takes part in making every machine's group.
    for ranks in torch.arange(world).split(num_workers_per_machine):
        group = dist.new_group(ranks.tolist())
        if get_rank() in ranks:
            _local_group = group


def get_local_rank() -> int:
    """Return the index of this process on its machine, which is also its GPU's."""
    if not _distributed():
        return 0
    assert _local_group is not None, "Call create_local_process_group in every process first."
    return dist.get_rank(group=_local_group)


def synchronize() -> None:
    """Wait until every process has come here."""
    if get_world_size() > 1:
        # NCCL needs the device, else it guesses by rank and warns.
        on_gpu = dist.get_backend() == dist.Backend.NCCL
        dist.barrier(**({"device_ids": [torch.cuda.current_device()]} if on_gpu else {}))


@cache
def _object_group() -> dist.ProcessGroup:
    """Make a group that moves pickled objects by CPU: NCCL would spend GPU memory on them."""
    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Return every process's picklable ``data``, in order of rank."""
    everyone = [data] * get_world_size()
    if len(everyone) > 1:
        group = group or _object_group()
        everyone = [None] * dist.get_world_size(group)
        dist.all_gather_object(everyone, data, group=group)
    return everyone


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Gather for the process of rank ``dst`` alone; the others get an empty list."""
    if get_world_size() == 1:
        return [data]
    group = group or _object_group()
    everyone = [None] * dist.get_world_size(group) if dist.get_rank(group) == dst else None
    target = dist.get_global_rank(group, dst)
    dist.gather_object(data, everyone, dst=target, group=group)
    return everyone or []


def shared_random_seed() -> int:
    """Agree on a number below 2**31, which the main process's numpy draws."""
    return all_gather(np.random.randint(2**31))[0]
