"""Run this project in a new interpreter that lacks what Windows lacks; called by test_systems.py.

Other packages are imported before, since theirs is another code on Windows.
"""

import importlib
import os
import pkgutil
import signal
import sys
import warnings
from pathlib import Path

OTHERS = """asyncio av cv2 filelock fvcore.nn hotcoco
hydra.core.override_parser.overrides_parser iopath.common.file_io matplotlib.figure
matplotlib.backends.backend_agg matplotlib.ticker multiprocessing.popen_spawn_posix
multiprocessing.resource_tracker omegaconf PIL.Image pycocotools.mask shapely.geometry
subprocess tabulate tensorboard timm.data timm.loss torch.distributed torch.utils.data
torch.utils.tensorboard torchvision.ops torchvision.transforms.v2 tqdm"""
MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "readline")
OF_OS = """fork forkpty setsid setpgid killpg getpgid getpgrp getuid getgid getegid setuid
chown fchown fchmod lchown statvfs fstatvfs mkfifo mknod nice wait waitstatus_to_exitcode
wait3 wait4 getloadavg uname sched_getaffinity sched_setaffinity posix_fallocate
posix_fadvise lockf pread pwrite sync getrandom O_NOFOLLOW O_DIRECTORY O_SYNC O_CLOEXEC
O_NOCTTY"""
OF_SIGNAL = """SIGALRM SIGHUP SIGCHLD SIGCONT SIGKILL SIGSTOP SIGTSTP SIGUSR1 SIGUSR2
SIGPIPE SIGQUIT alarm setitimer getitimer ITIMER_REAL pthread_kill pthread_sigmask pause
siginterrupt sigwait"""
SIZES = ("train=4", "val=2")


class Absent:
    """Refuses to import what Windows does not have."""

    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def take_away(host: str) -> None:
    for name in OTHERS.split():
        importlib.import_module(name)
    if host == "real":
        for name in ("config", "data", "engine", "evaluation", "modeling", "solver"):
            importlib.import_module(f"detectron2.{name}")
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Absent())
    for module, names in ((os, OF_OS), (signal, OF_SIGNAL)):
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = "win32"
    ours = "mvit_det" if host == "real" else "mvit_det|detectron2"
    warnings.filterwarnings("error", category=EncodingWarning, module=ours)


def import_all() -> int:
    import mvit_det

    folders = [name for name in mvit_det.__path__]
    names = [each.name for each in pkgutil.walk_packages(folders, "mvit_det.")]
    names = [name for name in names if not {"embedded", "_configs"} & set(name.split("."))]
    scripts = ".export.run_"  # of an exported model's folder, which they read
    names = [name for name in names if scripts not in name]
    for name in names:
        importlib.import_module(name)
    return len(names)


def load_all() -> int:
    from mvit_det.config_names import find_config, list_configs
    from mvit_det.engine import load_config

    return len([load_config(find_config(name)) for name in list_configs()])


def train_and_predict(folder: Path) -> None:
    from mvit_det.engine.folder import exclusive_output_dir
    from mvit_det.errors import UserError
    from mvit_det.predict.__main__ import run_command as predict
    from mvit_det.train import run_command as train

    output = str(folder / "run")
    sizes = [f"{part}.dataset.num_{size}" for part in ("train", "test") for size in SIZES]
    overrides = [f"dataloader.{text}" for text in sizes]
    overrides += [f"dataloader.{part}.num_workers=0" for part in ("train", "test")]
    overrides += ["dataloader.train.total_batch_size=2", "train.max_iter=2", "train.eval_period=2"]
    train(["--config-file", "quickstart", "--output", output, *overrides], "train_net.py")
    picture = next(Path(os.environ["DETECTRON2_DATASETS"]).glob("shapes/*/val/images/*"))
    found = ["--config-file", f"{output}/config.yaml", "--output", str(folder / "found")]
    predict([*found, str(picture)], "predict")
    with exclusive_output_dir(output, resume=True):
        try:
            with exclusive_output_dir(output, resume=True):
                print("locked twice")
        except UserError as error:
            print(error)


if __name__ == "__main__":
    take_away(sys.argv[1])
    print(import_all(), "modules")
    print(load_all(), "configs")
    train_and_predict(Path(sys.argv[2]))
