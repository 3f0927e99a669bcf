"""Checkpoints are whole or absent, and runs resume from the newest undamaged one."""

import errno
import logging
import os
import resource
import zipfile

import forked
import pytest
import torch
import toy
from torch import nn

from mvit_det.checkpoint import fit
from mvit_det.engine.checkpointer import StrictCheckpointer, checkpoint_fault
from mvit_det.engine.frozen import LOST_WORKER
from mvit_det.engine.launch import user_message
from mvit_det.errors import UserError


def saved(folder, *names: str) -> StrictCheckpointer:
    """Checkpoints of the given names, of falling age; each holds its number."""
    checkpointer = StrictCheckpointer(nn.Linear(64, 64), str(folder))
    for number, name in enumerate(names):
        checkpointer.save(name, number=number)
        os.utime(folder / f"{name}.pth", (number, number))
    return checkpointer


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[2000:2064] = bytes(byte ^ 255 for byte in content[2000:2064])
    path.write_bytes(content)


def test_a_worker_that_ends_while_a_checkpoint_is_written_is_not_a_full_disk(tmp_path, monkeypatch):
    text = "DataLoader worker (pid 7) is killed by signal: Killed. "
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(RuntimeError(text)))
    with pytest.raises(RuntimeError, match="worker") as raised:
        saved(tmp_path, "model_0000001")
    assert user_message(raised.value) == LOST_WORKER and not list(tmp_path.iterdir())


def test_a_compressed_file_is_not_a_checkpoint_to_resume_from(tmp_path):
    with zipfile.ZipFile(tmp_path / "model_0000001.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(2**20))
    assert checkpoint_fault(tmp_path / "model_0000001.pth") == "compressed, as no checkpoint is"


def test_saving_writes_the_file_and_its_tag_only(tmp_path):
    saved(tmp_path, "model_0000004")
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000004.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"
    assert checkpoint_fault(tmp_path / "model_0000004.pth") is None


def test_untagged_files_are_not_resumed_from(tmp_path):
    checkpointer = saved(tmp_path, "model_0000001")
    checkpointer.save("model_best", tag=False)
    assert checkpointer.get_checkpoint_file().endswith("model_0000001.pth")
    (tmp_path / "last_checkpoint").unlink()
    (tmp_path / "model_0000001.pth").unlink()
    assert checkpointer.get_checkpoint_file() == ""


def check_fallback(damage, word, folder, caplog):
    """The newest file is skipped with one warning, although the pointer names it."""
    checkpointer = saved(folder, "model_0000001", "model_0000003", "model_0000005")
    damage(folder / "model_0000005.pth")
    with caplog.at_level(logging.WARNING):
        path = checkpointer.get_checkpoint_file()
    assert path == str(folder / "model_0000003.pth")
    (warning,) = (r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)
    assert "model_0000005.pth" in warning and word in warning and "\n" not in warning
    assert checkpointer.resume(path)["number"] == 1


@pytest.mark.parametrize("kept", [0, 1, 3000, -1000, -1])
def test_row_05_a_truncated_checkpoint_is_skipped_with_a_warning(kept, tmp_path, caplog):
    def truncate(path):
        path.write_bytes(path.read_bytes()[:kept])

    check_fallback(truncate, "truncated", tmp_path, caplog)


def test_row_06_flipped_bytes_are_noticed_by_the_checksum(tmp_path, caplog):
    check_fallback(flip, "checksum", tmp_path, caplog)


@pytest.mark.parametrize("place", range(8))
def test_row_06_bytes_flipped_anywhere_never_reach_the_model(place, tmp_path):
    """Anywhere in the file: its tensors, its names, its directory."""
    checkpointer = saved(tmp_path, "model_0000003", "model_0000005")
    path = tmp_path / "model_0000005.pth"
    content = bytearray(path.read_bytes())
    start = (len(content) - 64) * place // 7
    content[start : start + 64] = bytes(byte ^ 255 for byte in content[start : start + 64])
    path.write_bytes(content)
    newest = checkpointer.get_checkpoint_file()
    expected = checkpointer.model.state_dict()
    for key, value in torch.load(newest, weights_only=True)["model"].items():
        assert torch.equal(value, expected[key])
    assert checkpointer.resume(newest)["number"] in (0, 1)


@pytest.mark.parametrize(
    "tag", [b"", b"model_0000099.pth", b"model_best.pth", b"\xff\x00\x80", b"../model_1.pth", None]
)
def test_row_05_a_tag_that_is_no_state_of_a_training(tag, tmp_path, caplog):
    """The latest iteration is taken then, whatever the dates of the files are."""
    checkpointer = saved(tmp_path, "model_0000003", "model_0000001", "model_best")
    if tag is None:
        (tmp_path / "last_checkpoint").unlink()
    else:
        (tmp_path / "last_checkpoint").write_bytes(tag)
    with caplog.at_level(logging.WARNING):
        assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000003.pth")
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert bool(warnings) == (tag is not None)


def test_row_05_all_damaged(tmp_path):
    checkpointer = saved(tmp_path, "model_0000001", "model_0000003")
    for path in tmp_path.glob("*.pth"):
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="No checkpoint in .* can be read .*without --resume"):
        checkpointer.get_checkpoint_file()


def test_row_09_a_full_disk_keeps_the_old_files(tmp_path, monkeypatch):
    checkpointer = saved(tmp_path, "model_final")
    before = (tmp_path / "model_final.pth").read_bytes()

    def full(data, file):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"No space left.* needs 0\.0 MiB.* free .*--resume"):
        checkpointer.save("model_final")
    assert (tmp_path / "model_final.pth").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_final.pth"]


def save_with_limit(folder: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    try:
        StrictCheckpointer(nn.Linear(64, 64), folder).save("model_0000001")
    except UserError as error:
        print(error)


def test_row_09_a_real_limit_of_the_system_ends_in_one_line(tmp_path):
    """The system refuses files above 8 KiB, and torch's writer does not raise an OSError then."""
    folder = tmp_path / "run"
    folder.mkdir()
    done = forked.run(save_with_limit, str(folder), output=tmp_path / "printed")
    assert "cannot be written" in done.stdout and "Traceback" not in done.stderr, done.stderr
    assert os.listdir(folder) == []


def test_row_14_weights_that_are_not_finite_are_not_saved(tmp_path):
    checkpointer = saved(tmp_path, "model_0000001")
    checkpointer.model.weight.data[3, 5] = float("nan")
    with pytest.raises(UserError, match="has diverged: .*model_0000003.pth is not written.*weight"):
        checkpointer.save("model_0000003")
    checkpointer.model.weight.data[3, 5] = float("inf")
    with pytest.raises(UserError, match="diverged"):
        checkpointer.save("model_0000003")
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    checkpointer.model.weight.data.fill_(3e38)  # finite, though their sum in float32 is not
    checkpointer.save("model_0000003")


def test_a_training_inflates_images_by_the_rule_of_its_config(tmp_path, monkeypatch):
    toy.train(toy.config(tmp_path / "first", max_iter=3))
    start = str(tmp_path / "first" / "model_final.pth")
    rules = []
    monkeypatch.setattr(
        "mvit_det.engine.checkpointer.fit", lambda *given: (fit(*given), rules.append(given[2]))[0]
    )
    for number, key in enumerate((dict(inflation="mean"), {})):
        toy.train(toy.config(tmp_path / str(number), max_iter=3, init_checkpoint=start, **key))
    assert rules == ["mean", "centre"]
