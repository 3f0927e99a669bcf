"""Write command_lines.md from the parsers: python docs/reference/make_command_lines.py"""

import sys
from argparse import SUPPRESS, Action, ArgumentParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import train_net  # noqa: E402
from mvit_det.benchmark import __main__ as benchmark  # noqa: E402
from mvit_det.check import __main__ as check  # noqa: E402
from mvit_det.checkpoint import __main__ as checkpoint  # noqa: E402
from mvit_det.evaluation import __main__ as evaluation  # noqa: E402
from mvit_det.export import __main__ as export  # noqa: E402
from mvit_det.predict import arguments as predict  # noqa: E402

PAGE = Path(__file__).with_name("command_lines.md")
COMMANDS = {
    "python train_net.py": (train_net, "Train or evaluate any config."),
    "python -m mvit_det.check": (
        check,
        "Find what is wrong with data, config and machine: [Check](../guides/check.md). It takes "
        "the arguments of `train_net.py` and",
    ),
    "python -m mvit_det.predict": (predict, None),
    "python -m mvit_det.evaluation": (evaluation, None),
    "python -m mvit_det.export": (export, None),
    "python -m mvit_det.benchmark": (benchmark, None),
    "python -m mvit_det.checkpoint": (checkpoint, None),
}
HEAD = """# Command lines

`docs/reference/make_command_lines.py` writes this page from the parsers; `--help` prints the same.
After the flags, `key=value` changes the config: see [Config keys](config_keys.md).
"""
# Detectron2's own flags, whose words differ between the real one and the embedded host
DETECTRON2 = {
    "--config-file": "a `.py` config, or the `config.yaml` of a run",
    "--resume": "continue the run in `train.output_dir`, or with `--eval-only` an interrupted test",
    "--eval-only": "evaluate `train.init_checkpoint`, and do not train",
    "--num-gpus": "processes on each machine",
    "--num-machines": "machines in all",
    "--machine-rank": "rank of this machine, from 0",
    "--dist-url": "address of machine 0, or `auto`",
    "opts": "changes to the config, as `key=value`",
}


def row(action: Action, of_detectron2: bool) -> str:
    """The row of one flag or positional argument."""
    name = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.dest}`"
    values = "" if action.nargs == 0 else _values(action)
    unset = action.default in (None, SUPPRESS, "", []) or action.default is False
    default = "" if unset else f"`{action.default}`"
    if action.dest == "dist_url":
        default = "a local port derived from the user"
    text = action.help or ""
    if of_detectron2:
        text = DETECTRON2.get((action.option_strings or [action.dest])[-1], text)
    elif action.dest == "device" and default:
        default = "`cuda` if there is one, else `cpu`"
        text = text.split(";")[0]
    required = "required; " if action.required and action.option_strings else ""
    return f"| {name} | {values} | {default} | {required}{text} |".replace("  ", " ")


def _values(action: Action) -> str:
    if action.choices is not None:
        return " ".join(f"`{choice}`" for choice in action.choices)
    names = action.metavar or action.dest.upper()
    names = [names] if isinstance(names, str) else names
    many = " ..." if action.nargs in ("+", "*", "...") else ""
    return f"`{' '.join(names)}`{many}"


def section(command: str, parser: ArgumentParser, description: str | None) -> str:
    """Heading, description, one table of plain flags and one per group of flags."""
    positional, options, *groups = parser._action_groups
    text = f"\n## {command}\n\n{description or parser.description}\n"
    plain = [*options._group_actions, *positional._group_actions]
    if command == "python -m mvit_det.check":
        known = {action.dest for action in train_net.argument_parser()._actions} - {"output"}
        plain, groups = [action for action in plain if action.dest not in known], []
    text += table(plain, of_detectron2=command == "python train_net.py")
    for group in groups:
        text += f"\n{group.title.capitalize()}: {group.description}\n"
        text += table(group._group_actions, of_detectron2=False)
    return text


def table(actions: list[Action], of_detectron2: bool) -> str:
    """One row for each argument but --help."""
    rows = [row(action, of_detectron2) for action in actions if action.dest != "help"]
    head = "\n| argument | value | default | meaning |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def page() -> str:
    """The whole page."""
    sections = [
        section(command, module.argument_parser(), text)
        for command, (module, text) in COMMANDS.items()
    ]
    return HEAD + "".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page())
