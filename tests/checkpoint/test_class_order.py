"""The class names next to converted weights, and the warning about their order."""

import pytest
import torch
import yaml
from timm.data.readers.class_map import load_class_map
from weight_files import classifier

from mvit_det.checkpoint.__main__ import argument_parser, main
from mvit_det.errors import UserError

NATURAL = ["class 1", "class 2", "Class 10", "\u72ac", "\u732b"]
SORTED = ["Class 10", "class 1", "class 2", "\u72ac", "\u732b"]  # as class folders are here


def numbered(names):
    return [dict(id=number, name=name) for number, name in enumerate(names, 1)]


def convert(folder, categories, target="timm", *more):
    """Convert a run's classifier of five classes."""
    torch.save({"model": classifier(5).state_dict()}, folder / "model_final.pth")
    if categories is not None:
        config = "model:\n  _target_: !!python/name:os.system ''\ntrain: {max_iter: 1}\n"
        text = yaml.safe_dump({"categories": categories}, allow_unicode=True) + config
        (folder / "config.yaml").write_text(text, encoding="utf-8")
    arguments = [f"{folder}/model_final.pth", "--to", target, "--output", f"{folder}/out.pth"]
    main(argument_parser().parse_args([*arguments, *more]))


@pytest.mark.parametrize(
    "categories", [numbered(SORTED), "\n".join(SORTED)], ids=["list", "long list"]
)
def test_names_are_written_and_another_order_is_said(tmp_path, capsys, categories):
    convert(tmp_path, categories)
    out = capsys.readouterr().out
    assert f"Wrote the 5 class names to {tmp_path}/out.classes.txt." in out
    assert "Class order: not the natural order of the names" in out and "--class-map" in out
    expected = {name: index for index, name in enumerate(SORTED)}
    assert load_class_map(str(tmp_path / "out.classes.txt")) == expected
    with pytest.raises(UserError, match="out.pth exists: add --overwrite"):
        convert(tmp_path, categories)
    (tmp_path / "out.pth").unlink()
    with pytest.raises(UserError, match="out.classes.txt, for the class names, exists: add --over"):
        convert(tmp_path, categories)
    assert not (tmp_path / "out.pth").exists()
    convert(tmp_path, numbered(NATURAL), "timm", "--overwrite")
    assert (tmp_path / "out.classes.txt").read_text(encoding="utf-8").split("\n")[2] == "Class 10"


def test_timms_own_order_and_other_formats_need_no_warning(tmp_path, capsys):
    convert(tmp_path, numbered(NATURAL))
    convert(tmp_path, numbered(SORTED), "mvit", "--overwrite")
    assert "Class order" not in capsys.readouterr().out
    assert (tmp_path / "out.classes.txt").read_text(encoding="utf-8").split() == " ".join(
        SORTED
    ).split()


@pytest.mark.parametrize("categories", [None, numbered(SORTED[:4]), {"a": 1}, [1, 2], "&a [*a"])
def test_unknown_names_are_a_warning(tmp_path, capsys, categories):
    convert(tmp_path, categories)
    out = capsys.readouterr().out
    assert "Class order: that of the training, whose config.yaml is not next to the file" in out
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.stem == "out") == [".pth"]


def test_detectors_and_backbones_have_no_class_order(tmp_path, capsys):
    state = {n: v for n, v in classifier(5).state_dict().items() if not n.startswith("head.")}
    torch.save(state, tmp_path / "a.pth")
    arguments = [f"{tmp_path}/a.pth", "--to=timm", f"--output={tmp_path}/out.pth"]
    main(argument_parser().parse_args(arguments))
    assert "Class order" not in capsys.readouterr().out
