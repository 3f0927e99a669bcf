"""README, docs/ and other pages: their commands work, and their links exist."""

import csv
import glob
import itertools
import os
import re
import runpy
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.config import LazyConfig
from omegaconf import DictConfig

import mvit_det.tasks
import train_net
from mvit_det.benchmark import __main__ as benchmark
from mvit_det.check import __main__ as check
from mvit_det.checkpoint import __main__ as checkpoint
from mvit_det.checkpoint.published import find, to_markdown
from mvit_det.data.synthetic.moving_figures import ACTIONS
from mvit_det.engine import apply_overrides, load_config
from mvit_det.evaluation import __main__ as evaluation
from mvit_det.export import __main__ as export
from mvit_det.predict import __main__ as predict
from mvit_det.predict.arguments import split_overrides

ROOT = Path(__file__).resolve().parent.parent
TABLES = sorted((ROOT / "configs").rglob("README.md"))  # whose commands all need data
PAGES = [*ROOT.glob("*.md"), ROOT / "datasets/README.md", *(ROOT / "docs").rglob("*.md"), *TABLES]
PAGES.sort()
FENCE = re.compile(r"(<!-- needs: [^\n]+ -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = {
    "mvit_det.check": check,
    "mvit_det.predict": predict,
    "mvit_det.evaluation": evaluation,
    "mvit_det.export": export,
    "mvit_det.benchmark": benchmark,
    "mvit_det.checkpoint": checkpoint,
}
# of other projects, or of the shell; not tested here
FOREIGN = {"pip", "pytest", "pre-commit", "ruff", "mypy", "export", "tensorboard", "ffmpeg"}

SHORT = ["train.max_iter=1", "train.eval_period=0", "train.log_period=1"]
LOADERS = ["dataloader.train.num_workers=0", "dataloader.test.num_workers=0"]
SIZES = {"": (6, 3), "_classification": (12, 6), "_video": (10, 10), "_actions": (2, 1)}


def shortened(config: str) -> list[str]:
    """Overrides that make a quickstart a matter of seconds."""
    kind = Path(config).stem.removeprefix("quickstart")
    train, val = SIZES.get(kind, SIZES[""])
    views = "dataset" in load_config(config).dataloader.test.dataset  # of a data set of videos
    test = "dataloader.test.dataset" + (".dataset" if views else "")
    sizes = [
        f"{data}.{name}={count}"
        for data in ("dataloader.train.dataset", test)
        for name, count in (("num_train", train), ("num_val", val))
    ]
    return [*sizes, *LOADERS, "dataloader.train.total_batch_size=2", *SHORT]


def blocks(page: Path) -> list[tuple[bool, str, str]]:
    """Whether a fence is marked as needing something, its language, its text."""
    found = FENCE.findall(page.read_text())
    return [
        (bool(needs) or page in TABLES, "bash" if page in TABLES else language, text)
        for needs, language, text in found
    ]


def commands(text: str) -> list[list[str]]:
    """The words of each command of a fence, without variables that are set for it."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    if "ffmpeg" in text:
        return [["ffmpeg"]]  # in a loop of the shell
    parts = [part for line in lines for part in line.split(" && ")]
    words = [shlex.split(part, comments=True) for part in parts]
    words = [list(itertools.dropwhile(re.compile(r"[A-Z_]+=").match, one)) for one in words]
    return [in_full(*one) if one[0] == "mvit-det" else one for one in words]


def in_full(_: str, name: str, *rest: str) -> list[str]:
    """The command that ``mvit-det NAME`` abbreviates."""
    if name == "train":
        return ["python", "train_net.py", *rest]
    return ["python", "-m", f"mvit_det.{name.replace('evaluate', 'evaluation')}", *rest]


def check_config(path: str, overrides: list[str]) -> DictConfig:
    """A config that a command names, also as the output of an earlier run, and changes to it."""
    name = re.fullmatch(r"output/([\w.]+)/config.yaml|([\w/]+)", path)
    if name:
        [path] = glob.glob(f"configs/**/{name[1] or name[2]}.py", recursive=True)
    cfg = apply_overrides(load_config(path), overrides)
    check_weights(cfg.train.init_checkpoint)
    return cfg


def check_weights(given: str | None) -> None:
    """A published name, or the output of a config that there is."""
    ours = re.match(r"output/(\w+)/", given or "")
    if ours:
        assert glob.glob(f"configs/**/{ours[1]}.py", recursive=True), f"no config makes {given}"
    elif given and not given.endswith((".pth", ".pyth")):
        assert find(given), f"{given} is not a published name"


def parsed(parse: Callable[[list[str]], Namespace], words: list[str]) -> Namespace:
    """Arguments, whose flags are written out."""
    flags = {word for word in words if word.startswith("--")}
    assert flags <= parse.__self__._option_string_actions.keys()
    return parse(words)


def check_training(words: list[str]) -> tuple:
    """Flags, config and overrides of a training; the parsed arguments."""
    args = parsed(train_net.argument_parser().parse_args, words)
    check_weights(getattr(args, "weights", None))
    return args, check_config(args.config_file, args.opts)


def check_module(name: str, words: list[str]):
    """Flags, configs, overrides and weights of ``python -m name``; the parsed arguments."""
    parser = COMMANDS[name].argument_parser()
    # as each of them does
    intermixed = name == "mvit_det.predict"
    args = parsed(parser.parse_intermixed_args if intermixed else parser.parse_args, words)
    if name == "mvit_det.predict":
        check_config(args.config_file, split_overrides(args.inputs)[1])
        check_weights(args.weights)
        if args.detector_config:
            check_config(args.detector_config, [])
            check_weights(args.detector_weights)
    elif name == "mvit_det.benchmark":
        tables = [glob.glob(pattern) for pattern in args.table or ()]
        assert all(tables), f"a pattern of {args.table} matches no config"
        check_config(tables[0][0] if tables else args.config_file, args.overrides)
    elif name == "mvit_det.export":
        check_config(args.config_file, args.overrides)
    elif name == "mvit_det.check":
        check_config(args.config_file, args.opts)
    elif name == "mvit_det.checkpoint":
        check_weights(args.file)
    return args


def check_script(path: str, words: list[str]) -> None:
    """The flags of a script or of a file beside it, whose parsers exist only when they run."""
    source = "".join(file.read_text() for file in (ROOT / path).parent.rglob("*.py"))
    strays = [word for word in words if word.startswith("--") and f'"{word}"' not in source]
    assert not strays, f"{path} has no {strays}"


class Sandbox:
    """A working directory in which quickstarts have run and the files that the pages name exist."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("configs", "datasets", "benchmarks", "tests", "docs"):
            (folder / name).symlink_to(ROOT / name)
        self.done: set[tuple[str, ...]] = set()
        for kind in ("", "_cascade", "_classification", "_pretrained", "_video", "_actions"):
            self.train(["--config-file", f"configs/quickstart{kind}.py"])
        self.make_custom_data()

    def train(self, words: list[str]) -> None:
        if tuple(words) not in self.done:
            self.done.add(tuple(words))
            args = train_net.argument_parser().parse_args(words)
            args.opts += shortened(args.config_file)
            train_net.main(args)

    def make_custom_data(self) -> None:
        """The generated test data, under the names of the guides."""
        made = {path.parent.name: path for path in (self.folder / "data").glob("*/v1-*")}
        for folder in ("my", "my_actions", "photos", "more"):
            Path(folder).mkdir()
        shapes, figures = made["shapes"] / "val", made["moving_figures"] / "val"
        for split in ("train", "val"):
            shutil.copy(shapes / "annotations.json", f"my/{split}.json")
            shutil.copy(figures / "actions.csv", f"my_actions/{split}.csv")
            Path(f"my_actions/{split}").symlink_to(figures / "videos")
        shutil.copy(figures / "actions.csv", "my/val.csv")
        Path("my/images").symlink_to(shapes / "images")
        Path("my_images").symlink_to(made["shape_classes"])
        Path("my_videos").symlink_to(made["motion_clips"])
        names = "".join(f"{k}: {name}\n" for k, name in enumerate(ACTIONS, start=1))
        for path in ("my/names.txt", "my_actions/names.txt"):
            Path(path).write_text(names)
        for path, target in (("photos/photo.jpg", shapes), ("more/photo.jpg", shapes)):
            shutil.copy(target / "images/00000.jpg", path)
        shutil.copy(next(made["motion_clips"].rglob("*.mp4")), "clip.mp4")
        film = next((figures / "videos").iterdir())
        shutil.copy(film, "film.mp4")
        with open(figures / "actions.csv") as file, open("people.csv", "w") as people:
            rows = [row for row in csv.reader(file) if row[0] == film.stem]
            csv.writer(people).writerows(["film", *row[1:]] for row in rows)

    def run(self, words: list[str]) -> None:
        """Check one command and run it, or of a large model what comes before it is built."""
        start, rest = words[:2], words[2:]
        if start == ["python", "train_net.py"]:
            args, _ = check_training(rest)
            if "quickstart" in args.config_file:
                self.train(rest)
            else:
                cfg = train_net.setup(args)
                cfg = cfg[0] if isinstance(cfg, tuple) else cfg
                assert len(cfg.categories) < 11, "the classes are not those of the custom data"
        elif start == ["python", "-m"]:
            self.run_module(rest[0], rest[1:])
        else:
            assert words[0] == "python" and words[1].startswith("datasets/"), f"run {words}?"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", words[1:])
                runpy.run_path(words[1], run_name="__main__")

    def run_module(self, name: str, words: list[str]) -> None:
        if name == "mvit_det.checkpoint.published":
            assert to_markdown() and not words
            return
        args = check_module(name, words)
        output = getattr(args, "output", None)
        status = COMMANDS[name].main(args)
        assert not isinstance(status, int) or status == 0
        assert output is None or Path(output).exists()
        if output and name == "mvit_det.evaluation":
            assert list(Path(output).glob("*_metrics.json"))


def save_config(cfg: DictConfig, args) -> None:
    """The part of Detectron2's `default_setup` that later commands need."""
    LazyConfig.save(cfg, os.path.join(cfg.train.output_dir, "config.yaml"))


@pytest.fixture(scope="module")
def sandbox(quick_pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DETECTRON2_DATASETS", str(folder / "data"))
        body = sys.modules[train_net.setup.__module__]
        patch.setattr(body, "default_setup", save_config)  # without its logs and seeds
        yield Sandbox(folder)


def check(words: list[str]) -> None:
    """Check a command without its data."""
    if words[0] == "torchrun":
        words = ["python", *words[words.index("train_net.py") :]]
    if words[0] in FOREIGN:
        return
    assert words[0] == "python", f"{words[0]} is not a known command"
    if words[1] == "train_net.py":
        check_training(words[2:])
    elif words[1] == "-m":
        check_module(words[2], words[3:])
    else:
        check_script(words[1], words[2:])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands(page, sandbox):
    for needs, language, text in blocks(page):
        assert language in ("bash", "python", "text", "csv", "mermaid"), f"a fence of {language!r}"
        if language == "python" and not needs:
            exec(compile(text, str(page), "exec"), {})  # noqa: S102
        for words in commands(text) if language == "bash" else ():
            if needs or words[0] in FOREIGN:
                check(words)
            else:
                sandbox.run(words)


def test_every_file_of_a_run_is_described(sandbox):
    """By its name, or by `NAME` or a number where the page has these."""
    page = (ROOT / "docs/reference/metrics_files.md").read_text()
    listed = set(re.findall(r"`([\w./*]+)`", page.partition("## Prediction")[0]))
    named = [re.sub("NAME|VIDEO|SECOND|[*]", ".+", one) for one in listed]
    named = [re.sub(r"\d{2,}", r"\\d+", one) for one in named]
    tasks = vars(mvit_det.tasks).values()
    files = [name for task in tasks for name in getattr(task, "output_files", ())]
    for output in Path("output").iterdir():
        files += [str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()]
    strays = [name for name in files if not any(re.fullmatch(one, name) for one in named)]
    assert len(files) > 50 and not strays


def without_code(page: Path) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    titles = [re.sub(r"\[(.+?)\]\(.+?\)", r"\1", title).lower() for title in titles]
    slugs = [re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles]
    return {f"{slug}-{n}" if (n := slugs[:k].count(slug)) else slug for k, slug in enumerate(slugs)}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(page):
    """Relative links name files and headings that exist; so do configs in the text."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if not target.startswith(("https://", "http://")):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists() and ROOT in (linked, *linked.parents), f"no file {target}"
            assert not anchor or anchor in anchors(linked), f"no heading {target}"
    for config in re.findall(r"configs/[\w/*]+\.py", page.read_text()):
        assert list(ROOT.glob(config)), f"there is no {config}"


def test_every_page_is_linked_from_the_index():
    index = without_code(ROOT / "docs/README.md")
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.name == "README.md" or f"({page.relative_to(ROOT / 'docs')})" in index, page


def test_command_lines_are_those_of_the_parsers():
    """`python docs/reference/make_command_lines.py` writes them again."""
    made = runpy.run_path(str(ROOT / "docs/reference/make_command_lines.py"))
    assert made["PAGE"].read_text() == made["page"]()
