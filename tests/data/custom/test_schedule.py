"""The schedule fitted to custom data: relative to the config's own batch, and only once."""

import logging

import pytest
from image_sets import write_folders
from omegaconf import OmegaConf

from mvit_det.data.custom.schedule import CUSTOM_TRAIN, fit_schedule
from mvit_det.engine import load_config
from mvit_det.train import argument_parser, setup


def config(batch: int, name: str = "released") -> OmegaConf:
    return OmegaConf.create(
        dict(
            dataloader=dict(train=dict(dataset=dict(name=name), total_batch_size=batch)),
            optimizer=dict(lr=0.001),
            train=dict(max_iter=7, eval_period=7, checkpointer=dict(period=7)),
        )
    )


@pytest.mark.parametrize(
    "released, processes, batch, rate",
    [(4, 1, 2, 0.00070711), (2, 1, 2, 0.001), (64, 8, 16, 0.0005), (4, 8, 8, 0.00141421)],
)
def test_the_rate_is_scaled_from_the_batch_of_the_config(released, processes, batch, rate):
    cfg = config(released)
    fit_schedule(cfg, 1000, 2, processes, epochs=36)
    assert (cfg.dataloader.train.total_batch_size, cfg.optimizer.lr) == (batch, rate)
    assert cfg.train.max_iter == 36000 // batch


def test_a_fitted_schedule_is_kept(caplog):
    cfg = config(6, CUSTOM_TRAIN)  # the batch of an override, for which the rate was not scaled
    with caplog.at_level(logging.INFO):
        fit_schedule(cfg, 1000, 2, 1, epochs=36)
    assert cfg == config(6, CUSTOM_TRAIN) and "is kept" in caplog.text


def test_a_saved_config_with_the_same_flags_is_the_same(tmp_path, monkeypatch, caplog):
    """With the overrides of the first command; what is printed is what runs."""
    # Detectron2's setup_logger, which other tests call, keeps the log from caplog
    monkeypatch.setattr(logging.getLogger("mvit_det"), "propagate", True)
    monkeypatch.setattr("mvit_det.train.setup_logger", lambda *_, **__: None)
    images = write_folders(tmp_path / "images", {"cat/a.jpg": b"", "dog/b.jpg": b""})
    flags = ["--train-images", str(images), "--val-images", str(images)]
    output = f"train.output_dir={tmp_path}"
    given = ["optimizer.lr=0.5", "dataloader.train.total_batch_size=8", "train.max_iter=9"]
    results = []
    for name, more in (("quickstart_classification", given), (tmp_path / "config.yaml", [])):
        arguments = ["--config-file", str(name), *flags, output, *more]
        caplog.clear()
        with caplog.at_level(logging.INFO):
            setup(argument_parser().parse_args(arguments))
        results.append(load_config(str(tmp_path / "config.yaml")))
        printed = "max_iter=9 dataloader.train.total_batch_size=8 optimizer.lr=0.5 "
        assert printed in caplog.text
    assert results[0] == results[1]
