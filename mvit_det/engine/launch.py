"""Start the processes of a run; end it with one sentence for a fault that the user can fix."""

import errno
import logging
import multiprocessing
import os
import re
import sys
import threading
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import torch
import torch.distributed as dist
from detectron2.engine import launch
from detectron2.utils import comm
from omegaconf.errors import InterpolationResolutionError

from mvit_det.engine.frozen import ENDS_FROZEN, LOST_WORKER
from mvit_det.engine.stop import Stopped, handle_signals
from mvit_det.errors import UserError

# how gloo and NCCL report that a peer process is gone
_LOST_PEER = re.compile(
    r"connection (closed|reset|refused)|remote process exited|NCCL|broken pipe|timed out waiting",
    re.IGNORECASE,
)


def run(main: Callable[[Namespace], None], args: Namespace) -> None:
    """Run ``main(args)`` in every process: this one, ``--num-gpus`` new ones, or torchrun's.

    Exits the process after a fault or a signal: 1 for a fault, 128 + signal when stopped.

    Args:
        main: the body of each process.
        args: Detectron2's ``num_gpus``, ``num_machines``, ``machine_rank`` and ``dist_url``, and
            any further arguments of ``main``.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _join_torchrun()
        _guarded(main, args)
        return
    wrong = process_fault(args)
    if wrong:
        _end(f"{wrong}.", code=1)
    received: list[int] = []

    def forward_signal(number: int, frame: FrameType | None) -> None:
        """Forward a signal: the training processes save and exit, and this one waits for them."""
        received.append(number)
        if sys.platform == "win32":  # where all have received it, and `os.kill` ends a process
            return
        for pid in [child.pid for child in multiprocessing.active_children() if child.pid]:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    if args.num_gpus * args.num_machines > 1:
        handle_signals(forward_signal)
    try:
        launch(
            _guarded,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(main, args),
        )
    except torch.multiprocessing.ProcessRaisedException as error:
        if "EADDRINUSE" not in str(error):
            raise
        _end(
            f"The port of --dist-url {args.dist_url} is in use, perhaps by another run: add "
            "--dist-url auto, or another port.",
            code=1,
        )
    except torch.multiprocessing.ProcessExitedException as error:
        if error.signal_name is None:
            sys.exit(error.exit_code)  # the process reported why before it ended
        if error.signal_name in ("SIGTERM", ENDS_FROZEN):
            # torch ends the other processes by SIGTERM when one has ended, which reported why
            sys.exit(128 + received[0] if received else 1)
        _end(
            f"Process {error.error_index} of {args.num_gpus} on this machine was ended by "
            f"{error.signal_name} (by the system if memory ran out), so the others were ended too: "
            "continue from the last checkpoint with --resume.",
            code=1,
        )


def process_fault(args: Namespace) -> str:
    """Return why there cannot be as many processes; "" if there can."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else args.num_gpus
    wrong = ""
    if args.num_gpus < 1:
        wrong = f"--num-gpus {args.num_gpus} must be 1 or more (for a CPU: train.device=cpu)"
    elif args.num_gpus > gpus:
        wrong = f"--num-gpus {args.num_gpus} must be at most {gpus}, the GPUs of this machine"
    elif args.num_machines < 1:
        wrong = f"--num-machines {args.num_machines} must be 1 or more"
    elif not 0 <= args.machine_rank < args.num_machines:
        wrong = f"--machine-rank {args.machine_rank} must be from 0 to {args.num_machines - 1}"
    elif args.num_machines > 1 and args.dist_url == "auto":
        wrong = "--dist-url auto is for one machine: give tcp://ADDRESS_OF_MACHINE_0:PORT"
    return wrong


def _join_torchrun() -> None:
    """Join the process group that torchrun describes in the environment."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    comm.synchronize()


def _guarded(main: Callable[[Namespace], None], args: Namespace) -> None:
    # where Detectron2 logs the exception that ended a training
    logging.getLogger("detectron2.engine.train_loop").addFilter(_needs_a_traceback)
    threading.excepthook = _thread_fault
    try:
        main(args)
    except Stopped as stopped:
        _end(str(stopped) if comm.is_main_process() else "", code=stopped.exit_code)
    except KeyboardInterrupt:
        _end("Interrupted: continue from the last checkpoint with --resume.", code=130)
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        _end(message, code=1)
    if dist.is_initialized():
        # At interpreter exit, gloo's threads may abort a process that has finished its work.
        dist.destroy_process_group()
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def _needs_a_traceback(record: logging.LogRecord) -> bool:
    """Return False for the traceback of a fault that is reported in one sentence."""
    return not record.exc_info or user_message(record.exc_info[1]) is None


def _thread_fault(fault: threading.ExceptHookArgs) -> None:
    """Print the traceback of a thread, unless the fault (a full disk) ends the run as well."""
    if user_message(fault.exc_value) is None:
        threading.__excepthook__(fault)


def user_message(error: BaseException | None) -> str | None:
    """Describe a fault that the user can fix, in one sentence; None for a fault of the program."""
    text = str(error).strip()
    if isinstance(error, UserError):
        # a data loader's worker wraps the message in its traceback
        return text.rsplit("UserError: ", 1)[-1] if "Original Traceback" in text else text
    if isinstance(error, InterpolationResolutionError):
        return (
            "A value of the config refers to another that cannot be resolved "
            f"({text.splitlines()[0]}): correct the override of the latter."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"No space is left for {error.filename or 'the output folder'}: the checkpoints so far "
            "are kept, so make room and continue with --resume."
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{error.filename} cannot be used ({error.strerror}): correct its permissions, or "
            "choose another train.output_dir if it is in there."
        )
    if isinstance(error, RuntimeError) and text.startswith("DataLoader worker (pid"):
        return LOST_WORKER
    if dist.is_initialized() and isinstance(error, RuntimeError) and _LOST_PEER.search(text):
        return (
            f"Process {dist.get_rank()} of {dist.get_world_size()} ends because another one has "
            "ended or cannot be reached (the output of that process states why): start all of them "
            "again with --resume to continue from the last checkpoint."
        )
    return None


def _end(message: str, code: int) -> None:
    with suppress(OSError):  # the terminal was closed
        if message:
            print(f"\nerror: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
