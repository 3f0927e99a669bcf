"""Atomic files: complete or absent, after errors and kills."""

import os
import signal
import subprocess
import sys

import pytest

from mvit_det.files import _remove_stale, atomic_file


@pytest.fixture(params=["linux", "win32"])
def system(request, monkeypatch):
    """As Windows, refuse to rename or remove a file that is open, and to open a folder."""

    def refusing(call):
        def wrapper(path, *more, **options):
            links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
            if os.path.realpath(path) in map(os.path.realpath, links):
                raise PermissionError(13, "The process cannot access the file", str(path))
            return call(path, *more, **options)

        return wrapper

    if request.param == "win32":
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(os, "replace", refusing(os.replace))
        monkeypatch.setattr(os, "unlink", refusing(os.unlink))
        monkeypatch.setattr("mvit_det.files.lock_descriptor", None)  # would forbid to write


def test_content_is_renamed_at_the_end(tmp_path, system):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old" and partial.parent == tmp_path
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_an_exception_keeps_the_old_content(tmp_path, system):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_killed_writer_leaves_the_old_content(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    program = (
        "import os, signal, sys\n"
        "from mvit_det.files import atomic_file\n"
        "with atomic_file(sys.argv[1]) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    with atomic_file(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_a_link_that_someone_planted_is_not_followed(tmp_path):
    """Every temporary name is new: a link at the name of an earlier one changes nothing."""
    precious = tmp_path / "precious"
    precious.write_text("kept")
    path = tmp_path / "a.txt"
    (tmp_path / "a.txt.partial").symlink_to(precious)
    names = set()
    for _ in range(2):
        with atomic_file(path) as partial:
            names.add(partial.name)
            assert partial.parent == tmp_path and partial.is_file() and not partial.is_symlink()
            partial.write_text("new")
        partial.symlink_to(precious)
    assert precious.read_text() == "kept" and path.read_text() == "new" and len(names) == 2


def test_what_a_killed_process_left_goes_but_not_what_another_is_writing(tmp_path, system):
    left = tmp_path / f"old.bin.{'0' * 16}.partial"
    left.touch()
    outside = tmp_path / "other.partial"
    outside.touch()
    with atomic_file(tmp_path / "big.bin") as first:
        assert not left.exists() and outside.exists()
        _remove_stale.cache_clear()
        with atomic_file(tmp_path / "b.txt") as second:
            second.write_text("b")
        first.write_text("big")
    assert (tmp_path / "big.bin").read_text() == "big"


def test_files_get_the_usual_permissions_and_names_may_be_as_long_as_possible(tmp_path):
    path = tmp_path / ("\u6f22" * 85)  # 255 bytes
    before = os.umask(0o022)
    try:
        with atomic_file(path) as partial:
            partial.write_text("x")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
