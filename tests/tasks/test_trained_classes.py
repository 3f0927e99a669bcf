"""Which classes a model was trained on decides the labels of test data, however those are given."""

import shutil
from pathlib import Path

import pytest
from detectron2.config import LazyConfig, instantiate

from mvit_det.data.custom.files import CustomFiles
from mvit_det.engine import apply_overrides, load_config
from mvit_det.errors import UserError
from mvit_det.tasks import Classification, task_of

CONFIGS = {
    "images": ("imagenet/mvitv2_t_in1k", "root", "1.jpg"),
    "videos": ("kinetics/mvitv2_s_16x4_k400", "source", "1.mp4"),
}
CLASSES = ["blue", "green", "red"]


def write_classes(root: Path, file: str, *classes: str) -> str:
    for name in classes:
        (root / name).mkdir(parents=True)
        (root / name / file).touch()
    return str(root)


def settled(cfg, *overrides, files=None, **state):
    """A config as train_net.py completes it."""
    task, files = task_of(cfg), files or CustomFiles()
    if files:
        task.use_custom_data(apply_overrides(cfg, overrides), files)
    cfg = apply_overrides(cfg, overrides)
    task.settle_classes(cfg, **{"training": False, **state})
    return cfg


@pytest.fixture(params=CONFIGS)
def run(request, tmp_path, monkeypatch):
    """The folder of a run on three classes, whose training data are gone, and what it is of."""
    config, source, file = CONFIGS[request.param]
    monkeypatch.chdir(tmp_path)
    paths = [write_classes(tmp_path / split, file, *CLASSES) for split in ("train", "val")]
    flags = dict(zip((f"train_{request.param}", f"val_{request.param}"), paths))
    cfg = settled(load_config(config), files=CustomFiles(**flags), training=True)
    (tmp_path / "run").mkdir()
    LazyConfig.save(cfg, "run/config.yaml")
    (tmp_path / "run" / "model_final.pth").touch()
    (tmp_path / "run" / "last_checkpoint").touch()
    shutil.rmtree(tmp_path / "train")
    return request.param, source, file


def labelled(run, way: str, folder: str, *classes: str):
    kind, source, file = run
    path = write_classes(Path(folder).absolute(), file, *classes)
    cfg = load_config("run/config.yaml" if "run's" in way else CONFIGS[kind][0])
    overrides = ["train.init_checkpoint=run/model_final.pth"]
    if "key" in way:
        cfg = settled(cfg, *overrides, f"dataloader.test.dataset.{source}={path}")
    else:
        cfg = settled(cfg, *overrides, files=CustomFiles(**{f"val_{kind}": path}))
    return cfg, instantiate(cfg.dataloader.test.dataset)


WAYS = ["run's config, key", "run's config, flag", "flag, weights of the run"]


@pytest.mark.parametrize("way", WAYS)
def test_fewer_classes_keep_the_labels_of_the_run(run, way, caplog):
    cfg, found = labelled(run, way, "less", "green", "red")
    assert sorted(set(found.labels.tolist())) == [1, 2] and found.class_names == CLASSES
    assert cfg.model.num_classes == 3 and [c["name"] for c in cfg.categories] == CLASSES
    assert "1 of the 3 classes have no" in caplog.text and "used: blue" in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_other_classes_are_refused_with_both_lists(run, way):
    with pytest.raises(UserError, match=r"azul, verde.* \(?(known are )?blue, green, red\)"):
        labelled(run, way, "renamed", "azul", "red", "verde")


def test_a_resumed_run_has_the_classes_that_it_began_with(run):
    kind, source, file = run
    write_classes(Path("train"), file, "blue", "green", "white")
    sentence = "training data have the classes blue, green, white, .* trained on blue, green, red"
    with pytest.raises(UserError, match=sentence):
        settled(load_config("run/config.yaml"), "train.output_dir=run", training=True, resume=True)
    # as another run they may be trained on
    cfg = settled(load_config("run/config.yaml"), "train.output_dir=new", training=True)
    assert [c["name"] for c in cfg.categories] == ["blue", "green", "white"]
    with pytest.raises(UserError, match="red; known are blue, green, white"):
        instantiate(cfg.dataloader.test.dataset)


def test_without_a_run_the_order_of_the_folders_is_said(run, caplog):
    kind, _, file = run
    Path("run/config.yaml").unlink()
    labelled(run, "flag, weights of the run", "less", "green", "red")
    assert "must have been trained on the same classes in the same order" in caplog.text


BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize("text", [BOMB + "categories: *i", "categories: 3", "[" * 9999, "\0", "a"])
def test_a_config_of_another_program_next_to_the_weights(run, text):
    kind, _, file = run
    Path("run/config.yaml").write_text(text)
    _, found = labelled(run, "flag, weights of the run", "less", "green", "red")
    assert found.class_names == ["green", "red"]


def folders(tmp_path: Path, *more: str):
    """The released config on folders that its keys name: what lacks a class is tested."""
    train = write_classes(tmp_path / "train", "1.jpg", *CLASSES)
    test = write_classes(tmp_path / "test", "1.jpg", "green", "red")
    nodes = ("dataloader.train.dataset", "dataloader.test.dataset")
    keys = [f"{node}.root={path}" for node, path in zip(nodes, (train, test))]
    keys += [f"{node}.classes=null" for node in nodes]
    cfg = load_config(CONFIGS["images"][0])
    return settled(cfg, "model.num_classes=3", *keys, *more, training=True)


def test_test_data_of_a_config_follow_its_training_data(tmp_path):
    cfg = folders(tmp_path)
    assert instantiate(cfg.dataloader.test.dataset).labels.tolist() == [1, 2]
    names = [c["name"] for c in Classification().categories(cfg)]
    assert names == CLASSES == instantiate(cfg.dataloader.train.dataset).classes


@pytest.mark.parametrize("classes", ["[red,green,blue]", "[blue,green,rot]"])
def test_classes_of_the_test_data_that_contradict_training(tmp_path, classes):
    with pytest.raises(
        UserError, match=r"test data have .* trained on blue, green, red: give both"
    ):
        folders(tmp_path, f"dataloader.test.dataset.classes={classes}")


def test_names_in_another_order_are_refused_for_prediction(tmp_path):
    cfg = folders(tmp_path)
    with pytest.raises(UserError, match=r"another order: .*\(blue, green, red\)"):
        Classification().categories(cfg, ["red", "green", "blue"])
    names = ["bleu", "vert", "rouge"]
    assert [c["name"] for c in Classification().categories(cfg, names)] == names


def test_numbered_videos_take_the_names_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        Path(name).touch()
    Path("list.txt").write_text("a.mp4 0\nb.mp4 2\n")
    files = CustomFiles(train_videos="list.txt", val_videos="list.txt")
    given = "dataloader.train.dataset.classes=[x,y,z]"
    cfg = settled(load_config(CONFIGS["videos"][0]), given, files=files, training=True)
    assert instantiate(cfg.dataloader.test.dataset).class_names == ["x", "y", "z"]
    cfg = settled(cfg, files=CustomFiles(val_videos="list.txt"))
    found = instantiate(cfg.dataloader.test.dataset)
    assert found.class_names == ["x", "y", "z"] and sorted(set(found.labels.tolist())) == [0, 2]
    cfg.dataloader.train.dataset.classes = None
    named = "dataloader.test.dataset.classes=[u,v,w]"  # names for what had numbers
    cfg = settled(cfg, named, training=True)
    assert [c["name"] for c in cfg.categories] == ["u", "v", "w"]


# ------------------------------------------------------------------------------------------ actions


@pytest.fixture
def actions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.csv").write_text("a,1,0.1,0.1,0.5,0.5,1,0\na,2,0.1,0.1,0.5,0.5,3,0\n")
    Path("val.csv").write_text("b,1,0.1,0.1,0.5,0.5,1,0\n")
    Path("names.txt").write_text("1: stand\n3: sit\n")
    Path("swapped.txt").write_text("1: sit\n3: stand\n")
    files = dict(train_videos=".", train_actions="train.csv", val_videos=".", val_actions="val.csv")
    files |= dict(label_map="names.txt")
    cfg = load_config("ava/mvitv2_s_16x4_k400_ava")
    return settled(cfg, files=CustomFiles(**files), training=True)


def test_actions_keep_the_outputs_and_names_of_the_run(actions):
    cfg = settled(actions, files=CustomFiles(val_videos=".", val_actions="val.csv"))
    assert cfg.model.num_classes == 3  # though the largest action there is 1
    assert [(c["id"], c["name"]) for c in cfg.categories] == [(1, "stand"), (3, "sit")]


def test_a_label_map_that_contradicts_the_run_is_refused(actions):
    swapped = "dataloader.test.dataset.label_map=swapped.txt"
    with pytest.raises(UserError, match="1: sit, 3: stand, but .* with 1: stand, 3: sit: give the"):
        settled(actions, swapped)
    settled(actions, "dataloader.test.dataset.label_map=null")  # no names, no contradiction


def test_an_id_that_would_fill_the_memory(actions):
    Path("names.txt").write_text("1: stand\n999999999: sit\n")
    paths = dict(train_actions="train.csv", val_actions="val.csv", label_map="names.txt")
    files = CustomFiles(train_videos=".", val_videos=".", **paths)
    with pytest.raises(UserError, match="names.txt has the id 999999999: number the actions 1, 2"):
        settled(actions, files=files, training=True)
