"""Start the processes of a run, and end it with one sentence where the user can mend the cause."""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable

import torch
import torch.distributed as dist
from detectron2.engine import launch
from detectron2.utils import comm

from mvit_det.errors import UserError

logger = logging.getLogger(__name__)


def run(main: Callable[[Namespace], None], args: Namespace) -> None:
    """Run ``main(args)`` in every process: this one, ``--num-gpus`` new ones, or torchrun's."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _join_torchrun()
        _guarded(main, args)
        return
    try:
        launch(
            _guarded,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(main, args),
        )
    except torch.multiprocessing.ProcessExitedException as error:
        # The process has said why before it ended.
        sys.exit(error.exit_code or 1)


def _join_torchrun() -> None:
    """Join the process group that torchrun describes in the environment."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    comm.synchronize()


def _not_a_user_error(record: logging.LogRecord) -> bool:
    """Filter out the traceback of what ends in one sentence anyway."""
    return not (record.exc_info and isinstance(record.exc_info[1], UserError))


def _guarded(main: Callable[[Namespace], None], args: Namespace) -> None:
    # where Detectron2 logs what has ended a training
    logging.getLogger("detectron2.engine.train_loop").addFilter(_not_a_user_error)
    try:
        main(args)
        if dist.is_initialized():
            # At the interpreter's exit gloo's threads may abort a process that has done its work.
            dist.destroy_process_group()
            logging.shutdown()
            sys.stdout.flush()
            os._exit(0)
    except UserError as error:
        _end(_sentence(error), code=1)
    except KeyboardInterrupt:
        _end("Interrupted: start again with --resume to go on from the last checkpoint.", code=130)


def _sentence(error: UserError) -> str:
    """The message alone, also where a data loader's worker has wrapped it in its traceback."""
    text = str(error).strip()
    marker = "UserError: "
    return text.rsplit(marker, 1)[-1] if "Original Traceback" in text else text


def _end(message: str, code: int) -> None:
    print(f"\nerror: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
