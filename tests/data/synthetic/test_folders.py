"""The folder of a generated data set: complete or absent, also with two processes."""

import threading

import pytest
from generated_files import files_below

from mvit_det.data.synthetic.folders import split_folder
from mvit_det.errors import UserError


def draw(folder, count, seeds):
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_text(str(seeds))


def made(draw=draw):
    return [split_folder(split, "kind", "8px", draw, (3, 2), 5, 1) for split in ("train", "val")]


def test_two_at_once(root):
    """Both draw, one is kept whole, nothing else is left, and nothing is drawn again."""
    barrier, folders = threading.Barrier(2, timeout=60), []

    def together(folder, count, seeds):
        draw(folder, count, seeds)
        barrier.wait()

    threads = [threading.Thread(target=lambda: folders.append(made(together))) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    [folder] = (root / "kind").iterdir()
    assert folder.name == "v1-3+2-8px-seed5"
    assert folders == [[folder / "train", folder / "val"]] * 2 == [made(None)] * 2
    expected = {f"train/{k}.txt": b"(5, 0)" for k in range(3)}
    assert files_below(folder) == expected | {f"val/{k}.txt": b"(5, 1)" for k in range(2)}


def test_an_interrupted_drawing_leaves_nothing(root):
    def fails(folder, *rest):
        draw(folder, *rest)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(fails)
    assert list((root / "kind").iterdir()) == []


def test_a_folder_that_is_not_writable(root, monkeypatch):
    (root / "file").write_text("")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root / "file"))
    with pytest.raises(UserError, match="generated data .kind. .*set DETECTRON2_DATASETS"):
        made()
