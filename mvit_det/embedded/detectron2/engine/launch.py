"""Start one process for each GPU."""

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, multiprocessing

from detectron2.utils import comm

DEFAULT_TIMEOUT = timedelta(minutes=30)


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> Any:
    """Call ``main_func(*args)`` in new processes, one per GPU, or in this one for a single GPU.

    Each of several machines runs this, with ``dist_url`` of machine 0 ("tcp://10.0.0.1:23456"); on
    one machine "auto" picks a free port. Without CUDA the processes communicate by gloo.

    Raises:
        ValueError: dist_url="auto" with several machines, or fewer GPUs than processes.
    """
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        return main_func(*args)
    if dist_url == "auto":
        if num_machines > 1:
            raise ValueError("dist_url='auto' is for one machine: give tcp://<machine 0>:<port>.")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            dist_url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    num_gpus = torch.cuda.device_count()
    if torch.cuda.is_available() and num_gpus_per_machine > num_gpus:
        raise ValueError(f"{num_gpus_per_machine} processes need as many GPUs, not {num_gpus}.")
    group = {"init_method": dist_url, "world_size": world_size, "timeout": timeout}
    process_args = (main_func, args, num_gpus_per_machine, machine_rank, group)
    multiprocessing.spawn(_run_process, process_args, nprocs=num_gpus_per_machine)


def _run_process(
    local_rank: int, main_func: Callable, args: tuple, local_size: int, machine: int, group: dict
) -> None:
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, rank=machine * local_size + local_rank, **group)
    comm.create_local_process_group(local_size)
    if backend == "nccl":
        torch.cuda.set_device(local_rank)
    # No process may time out on its first message while another one is still starting.
    comm.synchronize()
    main_func(*args)
    if distributed.is_initialized():
        # left to the interpreter's exit, its threads may abort the process
        distributed.destroy_process_group()
