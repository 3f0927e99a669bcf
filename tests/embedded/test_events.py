"""Event storage, writers, the logger, and communication in a single process."""

import json
import logging
import time
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import log_every_n_seconds, setup_logger

import mvit_det


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Capture the log of detectron2, independent of the handlers of other tests."""
    monkeypatch.setattr(logging.getLogger("detectron2"), "propagate", True)
    caplog.set_level(logging.DEBUG, logger="detectron2")
    return caplog


def test_storages_nest() -> None:
    with pytest.raises(AssertionError, match="EventStorage"):
        get_event_storage()
    with EventStorage(5) as outer:
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer and outer.iter == 5
    with pytest.raises(AssertionError, match="EventStorage"):
        get_event_storage()


def test_scalars() -> None:
    with EventStorage(3) as storage:
        storage.put_scalars(a=torch.tensor(1.5), b=2)
        storage.put_scalar("bbox/AP", 40, smoothing_hint=False, cur_iter=9)
        storage.step()
        storage.put_scalar("a", 3)
    assert storage.latest() == {"a": (3.0, 4), "b": (2.0, 3), "bbox/AP": (40.0, 9)}
    assert storage.latest_with_smoothing_hint()["a"] == (2.25, 4)  # the median of two
    assert storage.history("a").values() == [(1.5, 3), (3.0, 4)]
    with pytest.raises(KeyError, match="loss"):
        storage.history("loss")
    with pytest.raises(AssertionError, match="a"):
        storage.put_scalar("a", 1, smoothing_hint=False)


def test_windows_count_iterations_not_values() -> None:
    with EventStorage() as storage:
        for iteration in range(0, 30, 3):
            storage.put_scalar("a", iteration, cur_iter=iteration)
    assert [storage.count_samples("a", window) for window in (1, 3, 4, 100)] == [1, 1, 2, 10]
    assert storage.latest_with_smoothing_hint(4)["a"] == (25.5, 27)


def test_json_writer(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 0}\n')  # from the run that is resumed
    with EventStorage(1) as storage:
        writer = JSONWriter(str(path))
        storage.put_scalar("total_loss", 4.0)
        storage.put_scalar("lr", 0.1, smoothing_hint=False)
        writer.write()
        writer.write()  # no new scalars, no line
        storage.iter += 1
        storage.put_scalar("total_loss", 2.0)
        storage.put_scalar("bbox/AP", 1.0, smoothing_hint=False, cur_iter=7)
        writer.write()
        writer.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [
        {"iteration": 0},
        {"iteration": 1, "lr": 0.1, "total_loss": 4.0},
        {"iteration": 2, "total_loss": 3.0},
        {"iteration": 7, "bbox/AP": 1.0},
    ]
    assert path.read_text().splitlines()[1].startswith('{"iteration": 1, "lr"')  # sorted keys


def test_tensorboard_writer(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with EventStorage(4) as storage:
        writer = TensorboardXWriter(str(tmp_path))
        storage.put_scalar("total_loss", 2.5)
        writer.write()
        writer.write()
        writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("total_loss")] == [(4, 2.5)]


def test_metric_printer_line(log: pytest.LogCaptureFixture) -> None:
    with EventStorage() as storage:
        printer = CommonMetricPrinter(max_iter=100)
        for _ in range(3):
            storage.put_scalars(total_loss=1.5, loss_cls=0.123456, accuracy=7)
            storage.put_scalars(time=2.0, data_time=0.25)
            storage.put_scalar("lr", 1.23456789e-5, smoothing_hint=False)
            storage.iter += 1
        storage.iter = 9
        printer.write()
        storage.iter = 100
        printer.write()  # after the end: no line
    (line,) = [record.getMessage() for record in log.records]
    assert line.startswith(
        " eta: 0:03:00  iter: 9  total_loss: 1.5  loss_cls: 0.1235    time: 2.0000  "
        "last_time: 2.0000  data_time: 0.2500  last_data_time: 0.2500   lr: 1.2346e-05  "
    )
    assert storage.latest()["eta_seconds"] == (180.0, 9)


def test_metric_printer_without_times(log: pytest.LogCaptureFixture) -> None:
    with EventStorage() as storage:
        CommonMetricPrinter(max_iter=10_000).write()
        storage.put_scalar("time", 2.0)
        CommonMetricPrinter().write()
    first, endless = [record.getMessage() for record in log.records]
    assert "iter: 0" in first and "lr: N/A" in first and "eta" not in first
    assert "time: 2.0" in endless and "eta" not in endless


# Logger.


def test_logger_files_and_names(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    logger = setup_logger(str(tmp_path), name="mvit_test")
    assert setup_logger(str(tmp_path), name="mvit_test") is logger
    logger.info("one")
    logging.getLogger("mvit_test.part").warning("two")
    rank2 = setup_logger(str(tmp_path / "x.log"), distributed_rank=2, name="mvit_test2")
    rank2.info("three")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2  # no duplicates; no line of rank 2
    assert lines[0].endswith("mvit_test]: one")
    assert lines[1].startswith("WARNING [") and lines[1].endswith("mvit_test.part]: two")
    assert "three" in (tmp_path / "x.log.rank2").read_text()
    for name in ("mvit_test", "mvit_test2"):
        for handler in logging.getLogger(name).handlers:
            handler.flush()  # the real host buffers the file
    assert "mvit_test.part WARNING: two" in (tmp_path / "log.txt").read_text()


@pytest.mark.skipif(mvit_det.host() == "real", reason="is about the embedded host")
def test_a_later_log_file_does_not_duplicate_terminal_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    setup_logger(name="mvit_test3")
    setup_logger(str(tmp_path), name="mvit_test3").info("once")
    assert capsys.readouterr().out.count("once") == 1
    assert "once" in (tmp_path / "log.txt").read_text()


def test_log_every_n_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    clock = 0.0
    monkeypatch.setattr(time, "time", lambda: clock)
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    for clock in (0.0, 1.0, 4.0, 5.0, 8.0):
        log_every_n_seconds(logging.INFO, f"at {clock:.0f}", 3)
    assert [record.getMessage() for record in caplog.records] == ["at 0", "at 4", "at 8"]


# Files, a single process.


def test_zoo_prefix_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = []
    handler = PathManager._PathManager__get_path_handler("https://x/y")
    monkeypatch.setattr(handler, "_get_local_path", lambda path, **kw: urls.append(path) or path)
    PathManager.get_local_path("detectron2://ImageNetPretrained/mvitv2/MViTv2_T_in1k.pyth")
    zoo = "https://dl.fbaipublicfiles.com/detectron2/"
    assert urls == [zoo + "ImageNetPretrained/mvitv2/MViTv2_T_in1k.pyth"]


def test_communication_in_a_single_process() -> None:
    assert (comm.get_world_size(), comm.get_rank(), comm.get_local_rank()) == (1, 0, 0)
    assert comm.is_main_process()
    assert comm.gather("x") == comm.all_gather("x") == ["x"]
    comm.synchronize()
    assert 0 <= comm.shared_random_seed() < 2**31
