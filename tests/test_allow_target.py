"""A YAML that names custom code: every command says which flag allows it, and takes that flag."""

import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from omegaconf import OmegaConf

import mvit_det
from mvit_det import train
from mvit_det.benchmark import __main__ as benchmark
from mvit_det.errors import UserError
from mvit_det.predict import Predictor
from mvit_det.predict import __main__ as predict
from mvit_det.predict import arguments as predict_arguments
from mvit_det.predict.person_boxes import person_boxes
from mvit_det.tasks import ActionDetection

FLAG = r"model\._target_='custom_parts.Tiny' is not allowed .* add --allow-target custom_parts \("


@pytest.fixture
def saved(tmp_path, monkeypatch) -> str:
    """What a run writes whose Python config has a class of the user."""
    (tmp_path / "custom_parts.py").write_text(
        "from torch import nn\n\nclass Tiny(nn.Linear): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "custom_parts", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.jpg").touch()
    from custom_parts import Tiny

    cfg = OmegaConf.create(
        dict(model=L(Tiny)(in_features=1, out_features=1), train=dict(output_dir="run")),
        flags={"allow_objects": True},
    )
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    return str(tmp_path / "config.yaml")


def run_train(*words):
    train.setup(train.argument_parser().parse_args(["--config-file", *words]))


def run_predict(*words):
    flags = ["--config-file", *words, "--output", "found", "config.jpg"]
    predict.main(predict_arguments.argument_parser().parse_args(flags))


def find_people(*words):
    flags = ["--config-file", "x.py", "--output", "found", "a.mp4", "--detector-config", *words]
    predictor: Any = SimpleNamespace(task=ActionDetection())
    person_boxes(predict_arguments.argument_parser().parse_args(flags), predictor)


def run_benchmark(*words):
    benchmark.main(benchmark.argument_parser().parse_args([*words, "--device", "cpu"]))


@pytest.mark.parametrize(
    "command, then",
    [
        (run_train, "The config has no dataloader.test"),
        (run_predict, "no way to predict with its model"),
        (find_people, "is not the config of a detector"),
        (partial(run_benchmark, "--config-file"), "no way to benchmark its model"),
        (partial(run_benchmark, "--table"), "no way to benchmark its model"),
    ],
    ids=["train", "predict", "people", "benchmark", "table"],
)
def test_commands(command, then, saved):
    with pytest.raises(UserError, match=FLAG):
        command(saved)
    with pytest.raises(UserError, match=then):
        command(saved, "--allow-target", "custom_parts")


def test_python(saved):
    for load in (mvit_det.get_config, mvit_det.build, Predictor):
        with pytest.raises(UserError, match=FLAG):
            load(saved)
    model = mvit_det.build(saved, allow_targets=["custom_parts"])
    assert type(model).__module__ == "custom_parts"
    with pytest.raises(UserError, match="no way to predict"):
        Predictor(saved, allow_targets=["custom_parts"])


def test_row_31_a_yaml_config_that_would_run_code_runs_none(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"model: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]")
    for load in (mvit_det.get_config, mvit_det.build, Predictor):
        with pytest.raises(UserError, match="line 1: !!python/object/apply:os.mkdir is refused"):
            load(str(path))
    assert not (tmp_path / "made").exists()
