"""Find the configs that ship with this package by name.

`mvit_det/_configs` is the folder `configs/` of the repository: a link in a checkout, a copy in an
installed package.
"""

import difflib
import os
from pathlib import Path

from mvit_det.errors import UserError

ENDINGS = (".py", ".yaml", ".yml")
_LINK = Path(__file__).parent / "_configs"
# Git makes links on Windows only if it may; elsewhere the link is a small file there.
_FOLDER = (_LINK if _LINK.is_dir() else _LINK.parents[1] / "configs").resolve()


def list_configs() -> list[str]:
    """List the sorted names of all configs, e.g. ``"quickstart"``, ``"imagenet/mvitv2_t_in1k"``."""
    names = (path.relative_to(_FOLDER).with_suffix("") for path in _FOLDER.rglob("*.py"))
    return sorted(name.as_posix() for name in names if name.parts[0] != "common")


def find_config(spelling: str) -> str:
    """Find a config file by its path, its name, or the last part of its name.

    Args:
        spelling: a path that ends in .py, .yaml or .yml, or a name of `list_configs` with or
            without its folder: ``"imagenet/mvitv2_t_in1k"`` or ``"mvitv2_t_in1k"``.

    Raises:
        UserError: the file or name does not exist; the message names the nearest.
    """
    names = config_names()
    if spelling in names:
        return str(_FOLDER / f"{names[spelling]}.py")
    if os.path.isfile(spelling):
        if not spelling.endswith(ENDINGS):
            raise UserError(f"Config {spelling} is neither a .py nor a .yaml file.")
        return spelling
    folder = Path(spelling).parent if spelling.endswith(ENDINGS) else None
    siblings = sorted(folder.glob("*.py")) if folder else []
    choices = [str(path) for path in siblings] or list(names)
    wanted = spelling if siblings else spelling.removeprefix("configs/").removesuffix(".py")
    near = difflib.get_close_matches(wanted, choices, n=1, cutoff=0.0)[0]
    raise UserError(f"Config {spelling} does not exist; the nearest is {near}.")


def config_names() -> dict[str, str]:
    """Map each full name, and each unique last part of a name, to the full name."""
    names = list_configs()
    last = [name.rpartition("/")[2] for name in names]
    short = {part: name for part, name in zip(last, names, strict=True) if last.count(part) == 1}
    return short | {name: name for name in names}
