"""Communication between the processes of a distributed run; also works in a single process."""

from functools import cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

# The processes of this machine: set once by create_local_process_group.
_local_group: Any = None


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Return the number of processes over all machines."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Return the index of this process among all of them."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Return whether this process logs, writes and saves."""
    return not get_rank()


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Group the processes of each machine; call once in every process, after initialisation.

    Raises:
        AssertionError: the group exists already.
        ValueError: the number of processes is not a multiple of ``num_workers_per_machine``.
    """
    global _local_group
    assert _local_group is None, "The local process group exists already."
    world = get_world_size()
    if world % num_workers_per_machine:
        raise ValueError(f"{world} processes cannot form groups of {num_workers_per_machine}.")
    if not _is_distributed():
        return
    # new_group is collective: every process takes part in making the group of every machine.
    for ranks in torch.arange(world).split(num_workers_per_machine):
        group = dist.new_group(ranks.tolist())
        if get_rank() in ranks:
            _local_group = group


def get_local_rank() -> int:
    """Return the index of this process on its machine, which is also the index of its GPU."""
    if not _is_distributed():
        return 0
    assert _local_group is not None, "Call create_local_process_group in every process first."
    return dist.get_rank(group=_local_group)


def synchronize() -> None:
    """Wait until every process has called this."""
    if get_world_size() > 1:
        # Without the device, NCCL guesses it by rank and warns.
        on_gpu = dist.get_backend() == dist.Backend.NCCL
        dist.barrier(device_ids=[torch.cuda.current_device()] if on_gpu else None)


@cache
def _object_group() -> Any:
    """Return a group that moves pickled objects by CPU: NCCL would use GPU memory for them."""
    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Return every process's picklable ``data``, in order of rank."""
    objects = [data] * get_world_size()
    if len(objects) > 1:
        group = group or _object_group()
        objects = [None] * dist.get_world_size(group)
        dist.all_gather_object(objects, data, group=group)
    return objects


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Return every process's ``data`` in the process of rank ``dst``; an empty list elsewhere."""
    if get_world_size() == 1:
        return [data]
    group = group or _object_group()
    objects = [None] * dist.get_world_size(group) if dist.get_rank(group) == dst else None
    target = dist.get_global_rank(group, dst)
    dist.gather_object(data, objects, dst=target, group=group)
    return objects or []


def shared_random_seed() -> int:
    """Return the same number, 0..2**31-1, in all processes; numpy of the main process draws it."""
    return all_gather(np.random.randint(2**31))[0]
