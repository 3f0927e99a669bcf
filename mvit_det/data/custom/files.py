"""Paths of custom data, from the flags of train_net.py to the task that uses them."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from mvit_det.errors import UserError

_HELP = (
    "detection takes annotations in COCO format and images; image classification takes images in "
    "one folder per class or in tar files; video classification takes videos in one folder per "
    "class or a list of videos; action detection (configs/ava) takes videos and csv files in AVA's "
    "format; see docs/guides/custom_data.md"
)


def _flag(metavar: str, text: str) -> Any:
    return field(default=None, metadata={"metavar": metavar, "help": text})


@dataclass(frozen=True)
class CustomFiles:
    """Paths of files and folders, None for flags that are not given; false if all are None.

    For evaluation only, those of ``val`` are enough. Each task accepts some of them
    (`mvit_det.tasks.Task.use_custom_data`).
    """

    train_json: str | None = _flag("FILE", "annotations to train on")
    train_images: str | None = _flag("FOLDER", "images to train on")
    val_json: str | None = _flag("FILE", "annotations to evaluate on")
    val_images: str | None = _flag("FOLDER", "images to evaluate on")
    train_videos: str | None = _flag("FOLDER", "videos, or a list, to train on")
    val_videos: str | None = _flag("FOLDER", "videos, or a list, to evaluate on")
    train_actions: str | None = _flag("CSV", "boxes with actions to train on")
    val_actions: str | None = _flag("CSV", "boxes with actions to evaluate on")
    train_proposals: str | None = _flag("CSV", "detected boxes to train on as well")
    val_proposals: str | None = _flag(
        "CSV", "detected boxes to evaluate on, in place of annotated ones"
    )
    label_map: str | None = _flag("FILE", "names of the actions to evaluate")

    @staticmethod
    def add_flags(parser: ArgumentParser) -> None:
        """Add a flag per field to a command line parser."""
        group = parser.add_argument_group("custom data", _HELP)
        for each in fields(CustomFiles):
            group.add_argument(flag(each.name), **each.metadata)

    @classmethod
    def from_args(cls, args: Namespace) -> "CustomFiles":
        """Take the paths from arguments that were parsed with `add_flags`.

        Raises:
            UserError: a path is the empty string.
        """
        given = {each.name: getattr(args, each.name) for each in fields(cls)}
        empty = [name for name, path in given.items() if path == ""]
        if empty:  # as from a shell variable that is not set
            raise UserError(f"{flag(empty[0])} is empty: give a path, or leave the flag out.")
        return cls(**given)

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def absolute(self) -> "CustomFiles":
        """Make all paths absolute, so that a saved config works from any working directory."""
        paths = {name: path and os.path.expanduser(path) for name, path in vars(self).items()}
        return CustomFiles(**{name: path and os.path.abspath(path) for name, path in paths.items()})

    def check(self, model: str, kinds: Sequence[str], more: Sequence[str] = ()) -> None:
        """Refuse files of another task, and splits that are not complete.

        Args:
            model: the task's model, in words.
            kinds: endings of the fields that the task needs per split, such as ("json", "images").
            more: endings of the fields that are optional.

        Raises:
            UserError: a file is not for this task, or a needed one is missing.
        """
        given = [name for name, path in vars(self).items() if path]
        wrong = [flag(name) for name in given if not name.endswith((*kinds, *more))]
        if wrong:
            right = [flag(f"{split}_{kind}") for split in ("train", "val") for kind in kinds]
            raise UserError(
                f"{' and '.join(wrong)} cannot be used here: this config is of {model}, which "
                f"takes {' and '.join(right) or 'no custom data'}."
            )
        training = ["train"] if any(name.startswith("train") for name in given) else []
        for split in (*training, "val"):
            needed = [f"{split}_{kind}" for kind in kinds]
            absent = [flag(name) for name in needed if name not in given]
            if absent:
                hint = " (they may be those to train on again)" if split == "val" else ""
                raise UserError(
                    f"{' and '.join(absent)} is missing: custom data need "
                    f"{' and '.join(map(flag, needed))}{hint}."
                )


def flag(name: str) -> str:
    """Convert the name of a field to its flag: "val_json" to "--val-json"."""
    return "--" + name.replace("_", "-")
