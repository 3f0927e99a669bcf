"""Test a toy model on the views of generated videos, in one process or two."""

import os
import resource
import signal
import time
import zlib
from argparse import Namespace
from pathlib import Path

import mvit_det  # noqa: F401  before detectron2

# isort: split
import torch
from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from omegaconf import OmegaConf
from torch import nn

from mvit_det.data import StackSamples
from mvit_det.engine import evaluate, run
from mvit_det.evaluation import UnreadableImages, ViewAccuracy

VIDEOS, CLIPS, CROPS, CLASSES = 17, 3, 2, 6


def views(videos: int = VIDEOS, clips: int = CLIPS) -> list[dict]:
    """Items of all clips."""
    return [
        dict(file_name=f"v{i}.mp4", label=i % CLASSES, clip=k, clips=clips)
        for i in range(videos)
        for k in range(clips)
    ]


def noise(item: dict, crops: int = CROPS) -> dict:
    """A mapper; clip 1 of the videos 2 and 5 cannot be read, and nothing of video 3."""
    seed = zlib.crc32(f"{item['file_name']} {item['clip']}".encode())
    pixels = torch.randn(crops, 3, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
    pixels[:, 0, 0, 0, :] += item["label"]
    bad = item["file_name"] == "v3.mp4" or (item["file_name"], item["clip"]) in (
        ("v2.mp4", 1),
        ("v5.mp4", 1),
    )
    reason = "it is broken" if bad else None
    known = {key: item[key] for key in ("file_name", "clip", "clips")}
    return dict(known, inputs=pixels, labels=item["label"], unreadable=reason)


def sound(item: dict) -> dict:
    """A mapper that reads everything."""
    return dict(noise(item), unreadable=None)


class Toy(nn.Module):
    """Probabilities (B, V, K); at its call number ``at`` something happens in one process."""

    def __init__(self, classes: int = CLASSES, event: str = "", at: int = 0, rank: int = 0):
        super().__init__()
        self.layer = nn.Linear(96, classes)
        self.event, self.at, self.rank, self.calls = event, at, rank, 0

    def forward(self, batch: dict) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.at and comm.get_rank() == self.rank:
            EVENTS[self.event]()
        return self.layer(batch["inputs"].flatten(2)).softmax(dim=2)


def full_disk() -> None:
    """From now on no file can grow."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt_launcher() -> None:
    """As soon as both processes have something on disk."""
    folder = Path(os.environ["TOY_FOLDER"], "unfinished_test")
    while len(list(folder.glob("*.scores"))) < 2:
        time.sleep(0.05)
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)  # from which the launcher's signal wakes it


EVENTS = {
    "kill": kill_myself,
    "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "interrupt launcher": interrupt_launcher,
    "full": full_disk,
}


def save_weights(path: Path, seed: int = 0) -> None:
    torch.manual_seed(seed)
    torch.save({"model": Toy().state_dict()}, path)


def config(output_dir, weights, batch_size: int = 2) -> OmegaConf:
    return OmegaConf.create(
        dict(
            model=L(Toy)(),
            dataloader=dict(
                test=L(build_detection_test_loader)(
                    dataset=L(views)(videos=VIDEOS, clips=CLIPS),
                    mapper=noise,
                    batch_size=batch_size,
                    num_workers=0,
                    collate_fn=L(StackSamples)(),
                ),
                evaluator=[L(ViewAccuracy)(output_dir=str(output_dir)), L(UnreadableImages)()],
            ),
            train=dict(
                output_dir=str(output_dir),
                init_checkpoint=str(weights),
                ddp=dict(broadcast_buffers=False),
                device="cpu",
            ),
        ),
        flags={"allow_objects": True},
    )


def main(args: Namespace) -> None:
    setup_logger(name="mvit_det", distributed_rank=comm.get_rank())
    cfg = config(args.folder, args.weights)
    # of the instance alone, so that the test is the same one
    Toy.__init__.__defaults__ = (CLASSES, args.event, args.at, args.rank)
    results = evaluate(cfg, resume=args.resume)
    if comm.is_main_process():
        Path(args.folder, "results.txt").write_text(repr(results))


def launch(
    processes: int, folder: str, weights: str, event: str, at: int, rank: int, resume: str = ""
) -> None:
    """Run `main` in so many processes and exit as a command line does."""
    os.environ["TOY_FOLDER"] = folder
    run(
        main,
        Namespace(
            folder=folder,
            weights=weights,
            event=event,
            at=at,
            rank=rank,
            resume=bool(resume),
            num_gpus=processes,
            num_machines=1,
            machine_rank=0,
            dist_url="auto",
        ),
    )
