"""Public names: those of `mvit_det`, configs by name, the console command, a wheel."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from shipped_configs import CONFIGS, shipped_config

import mvit_det
from mvit_det import api, cli
from mvit_det.benchmark.__main__ import argument_parser as benchmark_parser
from mvit_det.checkpoint.__main__ import argument_parser as checkpoint_parser
from mvit_det.config_names import config_names
from mvit_det.engine import load_config
from mvit_det.errors import UserError
from mvit_det.train import argument_parser as train_parser
from mvit_det.train import setup

ROOT = Path(__file__).resolve().parent.parent
# Weights without a head; the configs of these names start from them.
PRETRAINING = {"mvitv2_s_16x4_maskfeat_k400", "mvitv2_l_16x4_maskfeat_k400"}
SMALL = ["model.backbone.embed_dim=8", "model.num_classes=5"]


def test_the_package_exports_its_names_and_does_not_import_torch_for_them():
    program = (
        "import sys, mvit_det; names = mvit_det.list_configs(); assert 'quickstart' in names\n"
        "assert sorted(mvit_det.__all__) == [\n"
        "    '__version__', 'build', 'get_config', 'host', 'list_configs']\n"
        "assert all(name in dir(mvit_det) for name in mvit_det.__all__)\n"
        "assert not {'torch', 'numpy', 'omegaconf', 'detectron2'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert all(hasattr(mvit_det, name) for name in mvit_det.__all__)
    with pytest.raises(AttributeError, match="mvit_det.*'load'"):
        _ = mvit_det.load


def test_every_config_has_a_name_and_its_last_part_is_enough():
    files = {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.py")}
    files = {name.removesuffix(".py") for name in files if not name.startswith("common/")}
    assert set(mvit_det.list_configs()) == files
    assert set(config_names()) == files | {name.rpartition("/")[2] for name in files}
    expected = load_config(str(CONFIGS / "kinetics" / "mvitv2_s_16x4_k400.py"))
    assert load_config("kinetics/mvitv2_s_16x4_k400") == expected
    assert mvit_det.get_config("mvitv2_s_16x4_k400") == expected
    changed = mvit_det.get_config("mvitv2_s_16x4_k400", ["train.max_iter=3"])
    assert changed.train.max_iter == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mvitv2_t_in1k_348", "348 does not exist; the nearest is mvitv2_t_in1k_384."),
        ("configs/ssv2/mvitv2_s_16x4.py", "the nearest is configs/ssv2/mvitv2_s_16x4_ssv2.py."),
        ("elsewhere/quickstrt.py", "does not exist; the nearest is quickstart."),
        ("configs/README.md", "is neither a .py nor a .yaml file."),
    ],
)
def test_a_wrong_config_ends_in_one_sentence(name, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError) as error:
        mvit_det.build(name)
    assert str(error.value).startswith(f"Config {name} ") and str(error.value).endswith(message)


@pytest.fixture
def loaded(monkeypatch):
    """Names of the weights that `build` loads; no model is made."""
    names = []

    class Recorder:
        def __init__(self, model, **options):
            assert options["complete"] is True

        def load(self, name):
            names.append(name)

    monkeypatch.setattr(api, "load_config", shipped_config)
    monkeypatch.setattr(api, "StrictCheckpointer", Recorder)
    monkeypatch.setattr(api, "build_model", lambda cfg, device: torch.nn.Identity())
    return names


def test_published_weights_select_the_config_of_their_model(loaded):
    """That each fits it stands in checkpoint/test_catalog.py."""
    name = "mmaction2/mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb"
    for published in (name, f"{name}_20230201-5bced1d0.pth".removeprefix("mmaction2/")):
        model = mvit_det.build(published, pretrained=True)
        assert not model.training
    assert loaded == [name, name]


def test_a_config_takes_its_published_weights(loaded):
    mvit_det.build("kinetics/mvitv2_l_40x3_312_in21k_k400", pretrained=True)
    mvit_det.build("mvitv2_h_in1k")
    assert loaded == ["mvitv2_l_40x3_k400"]
    for name in ("mvitv2_h_in1k", *PRETRAINING):
        with pytest.raises(UserError, match=f"No published weights fit .* config {name}: set"):
            mvit_det.build(name, pretrained=True)


def test_a_built_model_has_the_weights_of_the_file_and_refuses_others(tmp_path):
    config = "quickstart_classification"
    path = tmp_path / "weights.pth"
    first = mvit_det.build(config, overrides=SMALL)
    torch.save({"model": first.state_dict()}, path)
    second = mvit_det.build(config, pretrained=str(path), overrides=SMALL)
    inputs = {"inputs": torch.randn(2, 3, *first.backbone.input_size)}
    with torch.no_grad():
        expected, probabilities = first(inputs), second(inputs)
    torch.testing.assert_close(probabilities, expected, rtol=0, atol=0)
    assert probabilities.shape == (2, 5) and not second.training
    with pytest.raises(UserError, match=str(path)):
        mvit_det.build(config, pretrained=str(path), overrides=[*SMALL, "model.num_classes=6"])


def test_shared_flags_set_the_keys_of_the_config(tmp_path):
    output = tmp_path / "it's, a=b {folder}"
    given = ["--config-file", "quickstart", "--output", str(output), "--batch-size", "6"]
    args = train_parser().parse_args([*given, "--weights", "mvitv2_t_in1k", "train.seed=3"])
    cfg, _ = setup(args)
    assert (cfg.train.output_dir, cfg.train.init_checkpoint) == (str(output), "mvitv2_t_in1k")
    assert (cfg.dataloader.train.total_batch_size, cfg.train.seed) == (6, 3)

    cfg, _ = setup(train_parser().parse_args(["--eval-only", *given]))
    assert cfg.dataloader.test.batch_size == 6
    args = train_parser().parse_args([*given, "dataloader.train.total_batch_size=7"])
    with pytest.raises(UserError, match="--batch-size 6 and .*total_batch_size=7 contradict"):
        setup(args)


@pytest.mark.parametrize(
    ("parser", "old", "new"),
    [
        (
            benchmark_parser,
            ["--config-file", "x", "--batch", "3", "--json", "y"],
            ["--config-file", "x", "--batch-size", "3", "--output", "y"],
        ),
        (checkpoint_parser, ["x", "--to", "timm"], ["--weights", "x", "--to", "timm"]),
        (checkpoint_parser, ["--to", "timm", "x"], ["--to", "timm", "--weights", "x"]),
    ],
)
def test_former_spellings_of_flags_mean_the_same(parser, old, new):
    assert parser().parse_args(old) == parser().parse_args(new)


@pytest.mark.parametrize("word", cli.COMMANDS)
def test_each_subcommand_has_a_help(word, capsys):
    with pytest.raises(SystemExit) as status:
        cli.main([word, "--help"])
    assert status.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: mvit-det {word} [-h]")


def test_faults_end_the_console_command_with_a_status(capsys):
    with pytest.raises(SystemExit, match="^error: Weights absent are neither a file"):
        cli.main(["checkpoint", "--weights", "absent"])
    with pytest.raises(SystemExit) as status:
        cli.main(["trian", "--config-file", "quickstart"])
    assert status.value.code == 2 and "'train'" in capsys.readouterr().err


def copied_source(folder: Path) -> tuple[Path, Callable[..., str], Path]:
    """What an installation needs of the checkout; a function that runs commands in a third folder.

    That folder is the last of the three; nothing of the checkout is on the path there.
    """
    source, elsewhere = folder / "source", folder / "elsewhere"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "mvit_det", source / "mvit_det", symlinks=True, ignore=ignored)
    shutil.copytree(CONFIGS, source / "configs", ignore=ignored)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["DETECTRON2_DATASETS"] = str(folder / "datasets")
    elsewhere.mkdir()

    def start(*command) -> str:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return source, start, elsewhere


TINY_RUN = ["--config-file", "quickstart", "--output", "run", "--batch-size", "2"]
TINY_RUN += ["model.backbone.bottom_up.embed_dim=8", "model.backbone.out_channels=16"]
for loader in ("train", "test"):
    TINY_RUN += [f"dataloader.{loader}.dataset.num_{split}=4" for split in ("train", "val")]


@pytest.mark.slow
def test_an_installed_wheel_trains_and_builds_outside_the_checkout(tmp_path):
    source, start, elsewhere = copied_source(tmp_path)
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    start(sys.executable, "-m", "pip", "wheel", source, *offline, "--wheel-dir", tmp_path)
    (wheel,) = tmp_path.glob("mvit_det-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"mvit_det/_configs/{name}.py" for name in mvit_det.list_configs()} < names
    assert "mvit_det/py.typed" in names

    start(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # what the package needs, without this environment's links to the checkout
    needed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "needed.pth").write_text("\n".join(needed))
    python = binaries / "python"
    start(python, "-m", "pip", "install", wheel, *offline, "--prefix", tmp_path / "venv")
    start(binaries / "mvit-det", "train", *TINY_RUN, "train.max_iter=3")
    assert (elsewhere / "run" / "model_final.pth").is_file()
    program = (
        "import mvit_det, torch; model = mvit_det.build('mvitv2_t_in1k')\n"
        "print(mvit_det.__file__, model({'inputs': torch.zeros(1, 3, 224, 224)}).shape)"
    )
    file, shape = start(python, "-c", program).strip().split(" ", 1)
    assert Path(file).is_relative_to(packages) and shape == "torch.Size([1, 1000])"


@pytest.mark.release
@pytest.mark.skipif(mvit_det.host() == "real", reason="the real Detectron2 is on no package index")
def test_row_39_one_pip_install_in_a_fresh_environment(tmp_path):
    """With the newest packages that the requirements allow: train, predict, load every config."""
    source, start, elsewhere = copied_source(tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    start(sys.executable, "-m", "venv", tmp_path / "venv")
    pip = (python, "-m", "pip", "--quiet")
    try:
        start(*pip, "download", "--no-deps", "--no-cache-dir", "tabulate")
    except AssertionError as error:
        pytest.skip(f"no package index can be reached: {str(error)[-200:]}")
    start(*pip, "install", source)
    start(python, "-m", "pip", "check")
    command = python.with_name("mvit-det")
    start(command, "train", *TINY_RUN, "train.max_iter=2")
    picture = next((tmp_path / "datasets").rglob("val/images/*.jpg"))
    weights = ("--weights", "run/model_final.pth", "--score-threshold", "0")
    start(
        *(command, "predict", "--config-file", "run/config.yaml", *weights),
        *(picture, "--output", "found"),
    )
    assert json.loads((elsewhere / "found" / "predictions.json").read_text())
    program = (
        "import importlib.util, mvit_det, torch\n"
        "names = mvit_det.list_configs()\n"
        "targets = [mvit_det.get_config(name).model._target_ for name in names]\n"
        "assert not importlib.util.find_spec('fairscale') and mvit_det.host() == 'embedded'\n"
        "print(mvit_det.__file__, len(targets))"
    )
    file, count = start(python, "-c", program).rsplit(" ", 1)
    assert tmp_path in Path(file).parents and int(count) == len(mvit_det.list_configs()) > 40
