"""Train the toy in two processes, in one of which something happens; also a script."""

import os
import signal
import sys
import threading
from argparse import Namespace

import mvit_det  # noqa: F401  before detectron2

# isort: split
import toy
from detectron2.utils import comm

from mvit_det.engine import hooks, run
from mvit_det.errors import UserError


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise UserError("The value 42 is wrong: correct it.")


def interrupt_launcher() -> None:
    """Interrupt the launcher, and wait until it has forwarded the signal to this process."""
    arrived = threading.Event()
    handler = signal.getsignal(signal.SIGINT)

    def forwarded(*arguments) -> None:
        arrived.set()
        handler(*arguments)

    signal.signal(signal.SIGINT, forwarded)
    os.kill(os.getppid(), signal.SIGINT)
    while not arrived.wait(0.01):
        pass


EVENTS = {
    "die": kill_myself,
    "fail": fail,
    "interrupt": interrupt_launcher,
    "nothing": lambda: None,
    "compress": lambda: None,
    "average": lambda: None,
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "test": lambda: None,
}

TIMEOUT = {"stop": 6}


def main(args: Namespace) -> None:
    hooks.draw_curves = lambda *_: []
    if comm.get_rank() == 1:
        forward = toy.Toy.forward

        def eventful(self, batch):
            eventful.calls += 1
            if eventful.calls == 5:
                EVENTS[args.event]()
            return forward(self, batch)

        eventful.calls = 0
        toy.Toy.forward = eventful
    if args.event == "test" and comm.get_rank() == 1:
        toy.Score.process = lambda *_: fail()
    ddp = dict(broadcast_buffers=False, fp16_compression=args.event == "compress")
    ema = dict(enabled=args.event == "average", decay=0.5)
    cfg = toy.config(
        args.folder, seed=1 + comm.get_rank(), ddp=ddp, ema=ema, timeout=TIMEOUT.get(args.event, 60)
    )
    cfg.dataloader.train.total_batch_size = 4
    toy.train(cfg, resume=args.resume)


def launch(event: str, folder: str, resume: str = "") -> None:
    """Run `main` in two new processes and exit as a command line does."""
    run(
        main,
        Namespace(
            event=event,
            folder=folder,
            resume=bool(resume),
            num_gpus=2,
            num_machines=1,
            machine_rank=0,
            dist_url="auto",
        ),
    )


if __name__ == "__main__":
    launch(*sys.argv[1:])
