"""Start one process for each GPU."""

import logging
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, multiprocessing

from detectron2.utils import comm

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = timedelta(minutes=30)


def _free_local_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> Any:
    """Call ``main_func(*args)`` in ``num_gpus_per_machine`` new processes, each with its own GPU.

    With one process in all it is called here. Without CUDA the processes talk by gloo. On several
    machines, run this on each of them.

    Args:
        machine_rank: number of this machine, from 0.
        dist_url: where machine 0 can be reached, as in ``tcp://10.0.0.1:23456``; "auto" picks a
            free port for one machine.
        timeout: after which a process gives up waiting for the others.
    """
    world_size = num_machines * num_gpus_per_machine
    if world_size == 1:
        return main_func(*args)
    if dist_url == "auto":
        if num_machines > 1:
            raise ValueError(
                "dist_url='auto' is for one machine: give the address of machine 0 and a free "
                "port, as in tcp://10.0.0.1:23456."
            )
        dist_url = _free_local_url()
    if torch.cuda.is_available() and num_gpus_per_machine > torch.cuda.device_count():
        raise ValueError(
            f"{num_gpus_per_machine} processes need as many GPUs, but this machine has "
            f"{torch.cuda.device_count()}."
        )
    group = {"init_method": dist_url, "world_size": world_size, "timeout": timeout}
    first_rank = machine_rank * num_gpus_per_machine
    multiprocessing.spawn(
        _run_process,
        args=(main_func, args, num_gpus_per_machine, first_rank, group),
        nprocs=num_gpus_per_machine,
    )


def _run_process(
    local_rank: int, main_func: Callable, args: tuple, local_size: int, first: int, group: dict
) -> None:
    on_gpu = torch.cuda.is_available()
    try:
        distributed.init_process_group(
            "nccl" if on_gpu else "gloo", rank=first + local_rank, **group
        )
    except Exception:
        logging.getLogger(__name__).error(f"No connection at {group['init_method']}.")
        raise
    comm.create_local_process_group(local_size)
    if on_gpu:
        torch.cuda.set_device(local_rank)
    # Nobody may time out on the first message because another process is still starting.
    comm.synchronize()
    main_func(*args)
