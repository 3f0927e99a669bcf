"""End to end through train_net.py: train, resume, evaluate, one's own data, and how faults end."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mvit_det.data.synthetic.shapes import generate_shapes
from mvit_det.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
import train_net  # noqa: E402  the script, as a module

QUICKSTART = str(ROOT / "configs" / "quickstart.py")
TINY = [
    "model.backbone.bottom_up.embed_dim=8",
    "model.backbone.out_channels=16",
    "model.roi_heads.box_head.fc_dims=[16,16]",
    "model.roi_heads.mask_head.conv_dims=[16,16]",
    "dataloader.train.total_batch_size=2",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
]
SMALL_DATA = [
    "dataloader.train.dataset.num_train=8",
    "dataloader.train.dataset.num_val=4",
    "dataloader.test.dataset.num_train=8",
    "dataloader.test.dataset.num_val=4",
]


pytestmark = pytest.mark.usefixtures("datasets_folder")


def start(*arguments: str) -> None:
    """train_net.py in this process, without the launcher."""
    train_net.main(train_net.argument_parser().parse_args(list(arguments)))


def lines(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The output folder of four tiny iterations with an evaluation every two."""
    output = tmp_path_factory.mktemp("run")
    start(
        "--config-file",
        QUICKSTART,
        *TINY,
        *SMALL_DATA,
        f"train.output_dir={output}",
        "train.max_iter=4",
        "train.eval_period=2",
        "train.checkpointer.period=2",
        "train.log_period=1",
    )
    return output


def test_training_leaves_what_the_readme_promises(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "metrics.json", "model_final.pth", "last_checkpoint", "log.txt"} <= names
    assert {"losses.png", "ap.png", "coco_instances_results.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (trained / "pictures" / "overview.png").stat().st_size > 1000
    assert (trained / "last_checkpoint").read_text() == "model_final.pth"
    rows = lines(trained)
    assert {row["iteration"] for row in rows} >= {0, 1, 2, 3}
    last = {key: value for row in rows for key, value in row.items()}
    assert {"bbox/AP", "bbox/AP50", "segm/AP50", "total_loss", "loss_mask", "lr"} <= set(last)
    log = (trained / "log.txt").read_text()
    assert re.search("Detectron2: the (real|embedded) one serves this run", log)


def test_resuming_goes_on_where_it_stopped(trained, tmp_path):
    before = torch.load(trained / "model_final.pth", weights_only=True)["iteration"]
    start(
        "--config-file",
        str(trained / "config.yaml"),
        "--resume",
        "train.max_iter=6",
        "train.eval_period=0",
    )
    assert before == 3
    assert torch.load(trained / "model_final.pth", weights_only=True)["iteration"] == 5
    assert [row["iteration"] for row in lines(trained) if "total_loss" in row][-2:] == [4, 5]


def test_eval_only_repeats_the_evaluation(trained, tmp_path, capsys):
    from mvit_det.engine import load_config
    from mvit_det.engine.train import evaluate

    cfg = load_config(str(trained / "config.yaml"))
    cfg.train.init_checkpoint = str(trained / "model_0000003.pth")
    cfg.train.output_dir = str(tmp_path)
    results = evaluate(cfg)
    # the evaluation behind the last iteration is logged under the next number
    logged = next(row for row in lines(trained) if "bbox/AP" in row and row["iteration"] == 4)
    for task in ("bbox", "segm"):
        assert results[task]["AP"] == pytest.approx(logged[f"{task}/AP"], abs=1e-9)


@pytest.fixture(scope="module")
def own_files(tmp_path_factory) -> Path:
    """Shapes as one's own data: {train,val}/annotations.json and images; three classes are used."""
    folder = tmp_path_factory.mktemp("own")
    for name, count in (("train", 6), ("val", 3)):
        generate_shapes(folder / name, count, seed=count, image_size=96, object_size=(20, 50))
    return folder


def own_flags(folder: Path) -> list[str]:
    return [
        "--train-json",
        str(folder / "train" / "annotations.json"),
        "--train-images",
        str(folder / "train" / "images"),
        "--val-json",
        str(folder / "val" / "annotations.json"),
        "--val-images",
        str(folder / "val" / "images"),
    ]


def test_one_command_trains_a_released_config_on_ones_own_data(own_files, tmp_path):
    start(
        "--config-file",
        str(ROOT / "configs" / "mask_rcnn_mvitv2_t_3x.py"),
        *own_flags(own_files),
        *TINY,
        "train.init_checkpoint=",
        "train.device=cpu",
        "train.max_iter=2",
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
        f"train.output_dir={tmp_path}",
        "dataloader.train.mapper.augmentations.1.short_edge_length=[96]",
        "dataloader.test.mapper.augmentations.0.short_edge_length=96",
    )
    from mvit_det.engine import load_config

    cfg = load_config(str(tmp_path / "config.yaml"))
    assert cfg.model.roi_heads.num_classes == 5
    assert cfg.dataloader.train.dataset.name == "own_train"
    # two images per step instead of 64: the rate falls with the square root
    assert cfg.optimizer.lr == pytest.approx(1.6e-4 * (2 / 64) ** 0.5, rel=1e-3)
    results = json.loads((tmp_path / "coco_instances_results.json").read_text())
    ids = {r["category_id"] for r in results}
    assert ids and ids <= set(range(1, 6))


# --- faults: each ends in one sentence that names the value and the fix ---------------------------


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("train.max_itr=2", "'train' has no 'max_itr'; the nearest key is 'train.max_iter'"),
        ("optimzer.lr=3", "there is no 'optimzer'; the nearest key is 'optimizer'"),
        ("model.roi_heads.num_clases=3", "nearest key is 'model.roi_heads.num_classes'"),
        ("dataloader.train.total_batch_sise=3", "'dataloader.train.total_batch_size'"),
        ("dataloader.evaluator.7.dataset_name=x", "'dataloader.evaluator' has no '7'"),
        ("model.soft_nsm=linear", "nearest key is 'model.soft_nms'"),
        ("train.max_iter=abc", "train.max_iter=abc must be a number"),
        ("train.amp.enabled=3", "train.amp.enabled=3 must be true or false"),
        ("train.max_iter 2", "write key=value without spaces"),
        ("--eval-only", "must stand before"),
        ("~train.seed", "a key cannot be deleted"),
    ],
)
def test_a_wrong_override_is_refused_with_the_nearest_key(override, sentence):
    from mvit_det.engine import apply_overrides, load_config

    with pytest.raises(UserError, match=re.escape(sentence)):
        apply_overrides(load_config(QUICKSTART), [override])


def test_right_overrides_pass(tmp_path):
    from mvit_det.engine import apply_overrides, load_config

    cfg = apply_overrides(
        load_config(QUICKSTART),
        [
            "train.max_iter=7",
            "optimizer.lr=1e-4",
            "optimizer.eps=1e-6",  # an argument that the config leaves at its default
            "model.backbone.bottom_up.use_act_checkpoint=True",
            "dataloader.test.mapper.augmentations.0.short_edge_length=64",
            "dataloader.train.mapper.recompute_boxes=true",  # one that goes on to the base class
            "model.soft_nms=linear",
            "model.test_short_sides=[96,128]",
            "+train.note=mine",
            "train.init_checkpoint=",
        ],
    )
    assert cfg.model.soft_nms == "linear" and cfg.model.test_short_sides == [96, 128]
    assert (cfg.train.max_iter, cfg.train.note) == (7, "mine")
    assert cfg.optimizer.eps == 1e-6 and cfg.model.backbone.bottom_up.use_act_checkpoint is True
    assert cfg.dataloader.test.mapper.augmentations[0].short_edge_length == 64


def test_a_wrong_config_path_names_the_nearest():
    with pytest.raises(UserError, match=r"does not exist; the nearest is .*quickstart\.py"):
        start("--config-file", QUICKSTART.replace("quickstart", "quickstat"))


def test_a_dataset_that_is_not_on_disk(tmp_path):
    with pytest.raises(UserError, match="coco_2017_train.*not on disk.*DETECTRON2_DATASETS"):
        start(
            "--config-file",
            str(ROOT / "configs" / "mask_rcnn_mvitv2_t_3x.py"),
            f"train.output_dir={tmp_path}",
            "train.device=cpu",
        )


def test_half_of_ones_own_data(own_files):
    with pytest.raises(UserError, match="--train-images is missing"):
        start("--config-file", QUICKSTART, "--train-json", "a.json", *own_flags(own_files)[4:])


DEEPER = [
    "model.backbone.bottom_up.depth=5",
    "model.backbone.bottom_up.last_block_indexes=[0,1,3,4]",
]


def test_what_is_refused_or_only_evaluates_leaves_the_config_of_the_run(trained):
    before = (trained / "config.yaml").read_bytes()
    arguments = ["--config-file", str(trained / "config.yaml"), f"train.output_dir={trained}"]
    with pytest.raises(UserError, match="holds the checkpoints of another run"):
        start(*arguments, "model.backbone.out_channels=32")
    with pytest.raises(UserError, match="another architecture"):
        start("--resume", *arguments, "model.backbone.out_channels=32")
    with pytest.raises(UserError, match="another architecture"):
        start(
            "--eval-only",
            *arguments,
            "model.backbone.out_channels=32",
            f"train.init_checkpoint={trained / 'model_final.pth'}",
        )
    assert (trained / "config.yaml").read_bytes() == before


def test_weights_that_are_no_numbers_are_refused(trained, tmp_path):
    weights = torch.load(trained / "model_0000003.pth", weights_only=True)["model"]
    weights["roi_heads.mask_head.predictor.bias"].fill_(float("nan"))
    torch.save({"model": weights}, tmp_path / "nan.pth")
    with pytest.raises(UserError, match="not finite, in roi_heads.mask_head.predictor.bias"):
        start(
            *("--config-file", str(trained / "config.yaml")),
            f"train.init_checkpoint={tmp_path / 'nan.pth'}",
            f"train.output_dir={tmp_path / 'run'}",
        )


@pytest.mark.parametrize(
    "override, told",
    [
        ("train.max_iter=0", "max_iter=0 of train must be a whole number of at least 1"),
        ("train.device=gpu", "train.device=gpu cannot be used here"),
        ("model.backbone.bottom_up.drop_path_rate=2", "drop_path_rate=2.* must be from 0 to 1"),
    ],
)
def test_values_out_of_range_end_in_a_sentence(override, told, trained, tmp_path):
    with pytest.raises(UserError, match=told):
        start(
            *("--config-file", str(trained / "config.yaml"), override),
            f"train.output_dir={tmp_path}",
        )


@pytest.mark.parametrize(
    "weights, overrides, told",
    [
        ("nowhere.pth", [], "nowhere.pth do not exist"),
        ("", [], "--eval-only needs weights"),
        (b"<html>Log in first.</html>", [], "page.pth .*a web page"),
        (b"", [], "page.pth .*an empty file"),
        ("model_0000003.pth", DEEPER, "another architecture.*missing.*unexpected.*mismatched"),
    ],
)
def test_weights_that_cannot_be_evaluated(weights, overrides, told, trained, tmp_path):
    if isinstance(weights, bytes):
        (tmp_path / "page.pth").write_bytes(weights)
        weights = tmp_path / "page.pth"
    weights = weights and trained / weights
    config = ["--config-file", str(trained / "config.yaml")]
    with pytest.raises(UserError, match=told):
        start(*config, "--eval-only", f"train.init_checkpoint={weights}", *overrides)


def test_starting_from_another_architecture_is_refused_but_other_classes_are_not(
    trained, own_files, tmp_path
):
    common = [
        "--config-file",
        str(trained / "config.yaml"),
        f"train.init_checkpoint={trained / 'model_0000003.pth'}",
        f"train.output_dir={tmp_path}",
        "train.max_iter=1",
        "train.eval_period=0",
    ]
    with pytest.raises(UserError, match="9 classes.*5 classes|5 classes.*9"):
        start(*common, "model.roi_heads.num_classes=9")
    # fewer classes: the heads are new, the backbone fits
    single = json.loads((own_files / "train" / "annotations.json").read_text())
    single["categories"] = [dict(id=1, name="thing")]
    for annotation in single["annotations"]:
        annotation["category_id"] = 1
    (tmp_path / "single.json").write_text(json.dumps(single))
    flags = own_flags(own_files)
    flags[1] = flags[5] = str(tmp_path / "single.json")
    flags[7] = flags[3]
    start(*flags, *common)
    with pytest.raises(UserError, match="another architecture"):
        start(*common, "model.backbone.bottom_up.embed_dim=16", f"train.output_dir={tmp_path}/2")


def test_diverging_names_term_iteration_and_images(trained, tmp_path):
    weights = torch.load(trained / "model_0000003.pth", weights_only=True)
    weights["model"]["roi_heads.mask_head.predictor.bias"].fill_(3e38)
    torch.save({"model": weights["model"]}, tmp_path / "nan.pth")
    with pytest.raises(
        UserError, match=r"iteration 0: loss_mask=(nan|inf), on the images .*\.(png|jpg).*lower optimizer.lr"
    ):
        start(
            "--config-file",
            str(trained / "config.yaml"),
            f"train.init_checkpoint={tmp_path / 'nan.pth'}",
            f"train.output_dir={tmp_path}",
        )
    assert not (tmp_path / "model_final.pth").exists()


def script(*arguments: str, launcher=(), **environment) -> subprocess.CompletedProcess:
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT), **environment)
    command = [sys.executable, *launcher, str(ROOT / "train_net.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)


def test_on_the_command_line_a_fault_is_one_line_and_exit_code_1():
    done = script("--config-file", QUICKSTART, "train.max_itr=2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: Override 'train.max_itr'")


def test_torchrun_trains_and_evaluates(tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = script(
        *("--config-file", QUICKSTART, *TINY, *SMALL_DATA, f"train.output_dir={tmp_path}"),
        *("train.max_iter=2", "train.eval_period=2", "train.log_period=1"),
        launcher=torchrun,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "coco_instances_results.json").exists()
    assert (tmp_path / "log.txt.rank1").exists()
    final = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert final["iteration"] == 1


def losses(output: Path) -> dict[int, dict[str, float]]:
    """iteration -> losses; after a resume the later of two lines counts."""
    return {
        row["iteration"]: {key: row[key] for key in sorted(row) if "loss" in key}
        for row in lines(output)
        if "total_loss" in row
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_killed_goes_on_with_the_very_losses(workers, tmp_path):
    def arguments(output):
        changes = dict(max_iter=10, eval_period=4, log_period=1, output_dir=output)
        return [
            "--config-file",
            QUICKSTART,
            *TINY,
            *SMALL_DATA,
            *(f"train.{key}={value}" for key, value in changes.items()),
            "train.checkpointer.period=3",
            "model.backbone.bottom_up.drop_path_rate=0.3",
            f"dataloader.train.num_workers={workers}",
        ]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert script(*arguments(whole)).returncode == 0
    command = [sys.executable, str(ROOT / "train_net.py"), *arguments(killed)]
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(command, env=env, **silent)
    while not (killed / "metrics.json").exists() or len(losses(killed)) < 8:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert (killed / "last_checkpoint").read_text() in ("model_0000005.pth", "model_0000008.pth")
    done = script("--resume", *arguments(killed))
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(killed) == losses(whole) and len(losses(whole)) == 10
    a, b = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"]
        for folder in (whole, killed)
    )
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def one_object_each(own_files) -> Path:
    """The annotations of one's own training images, cut down to one object per image."""
    coco = json.loads((own_files / "train" / "annotations.json").read_text())
    firsts = {a["image_id"]: a for a in reversed(coco["annotations"])}
    coco["annotations"] = list(firsts.values())
    path = own_files / "single.json"
    path.write_text(json.dumps(coco))
    return path


def test_two_processes_learn_and_find_what_one_does(own_files, one_object_each, tmp_path):
    """Nothing is sampled, and every image has as many proposals and objects as any other.

    Then the mean of the processes' losses is the loss of the joint batch. In general it is not:
    Detectron2's losses are means over the proposals of a process.
    """
    flags = own_flags(own_files)
    flags[1] = flags[5] = str(one_object_each)
    flags[7] = flags[3]
    common = [
        "--config-file",
        QUICKSTART,
        *flags,
        *TINY,
        "train.init_checkpoint=",
        "train.max_iter=3",
        "train.eval_period=0",
        "train.log_period=1",
        "model.backbone.bottom_up.drop_path_rate=0",
        "model.proposal_generator.batch_size_per_image=100000",
        "model.proposal_generator.post_nms_topk=[30,30]",
        "model.roi_heads.batch_size_per_image=1000",
        "model.roi_heads.proposal_matcher.thresholds=[0.99]",
        "optimizer.lr=1e-3",
        "dataloader.train.mapper.augmentations.0.short_edge_length=96",
        "dataloader.test.mapper.augmentations.0.short_edge_length=96",
    ]
    folders = {}
    for processes in (1, 2):
        folders[processes] = folder = tmp_path / str(processes)
        done = script("--num-gpus", str(processes), *common, f"train.output_dir={folder}")
        assert done.returncode == 0, done.stderr[-2000:]
    alone, together = losses(folders[1]), losses(folders[2])
    assert alone.keys() == together.keys() == {0, 1, 2}
    for iteration, expected in alone.items():
        assert together[iteration] == pytest.approx(expected, rel=1e-4)
    assert alone[0] != alone[2]

    weights = [
        "train.init_checkpoint=" + str(folders[1] / "model_final.pth"),
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
    ]
    found = {}
    for processes in (1, 2):
        folder = tmp_path / f"evaluated{processes}"
        done = script(
            "--num-gpus",
            str(processes),
            *common[:2],
            "--eval-only",
            *common[2:],
            *weights,
            f"train.output_dir={folder}",
        )
        assert done.returncode == 0, done.stderr[-2000:]
        numbers = re.findall(r"copypaste: (.*)", (folder / "log.txt").read_text())
        found[processes] = numbers, (folder / "coco_instances_results.json").read_bytes()
    assert found[1] == found[2] and len(json.loads(found[1][1])) > 100
