"""Values of a config are checked by key, before anything starts, wherever they come from."""

import random

import pytest
import toy
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf
from shipped_configs import shipped_config

from mvit_det import get_config
from mvit_det.engine import apply_overrides, check_run
from mvit_det.engine.config_values import TABLE, check_values
from mvit_det.errors import UserError

TASKS = ["quickstart", *(f"quickstart_{task}" for task in ("cascade", "classification"))]
TASKS += ["quickstart_video", "quickstart_actions"]
# what the values below are right for
TEXTS = {"train.output_dir", "train.init_checkpoint", "train.best_metric", "dataloader.*.name"}
TEXTS |= {"categories", "model.*.full_pooling", "model.*.rel_pos_on"}
ACTIVATIONS = "model.backbone.bottom_up.use_act_checkpoint"
SIGNED = {"dataloader.*.start", "model.*.head_init_scale"}
SECTIONS = {"train", "train.amp", "train.ddp", "train.checkpointer", "train.ema", "model"}
SECTIONS |= {"dataloader", "dataloader.train", "dataloader.test", "optimizer", "optimizer.params"}
SECTIONS |= {"dataloader.train.dataset", "dataloader.train.mapper", "dataloader.test.dataset"}
SECTIONS |= {
    "dataloader.pictures",
    "dataloader.test.mapper",
    "dataloader.evaluator",
    "lr_multiplier",
}


def wrong_value(draw: random.Random, key: str):
    values = [float("nan"), float("-inf"), ["junk"], [float("nan"), -1]]
    values += [] if key in TEXTS else ["junk", "", "1"]
    values += [] if key in SECTIONS else [{"a": 1}, {}, "${nowhere.at_all}"]
    values += [] if key in SIGNED else [-draw.randint(2, 10**20), -draw.uniform(0.1, 9)]
    return draw.choice(values)


def keys_in(cfg) -> dict[str, list[str]]:
    """Pattern of the table -> the keys of a config; keys that the config leaves unset as well."""
    found = {key: [key] if "*" not in key else [key.replace("*.", "")] for key in TABLE}

    def walk(node, prefix):
        for name in range(len(node)) if OmegaConf.is_list(node) else node:
            key = f"{prefix}{name}"
            pattern = f"{key.partition('.')[0]}.*.{key.rpartition('.')[2]}"
            if pattern in found and key not in found:
                found[pattern].append(key)
            if not OmegaConf.is_interpolation(node, name) and OmegaConf.is_config(node[name]):
                walk(node[name], f"{key}.")

    walk(cfg, "")
    return found


@pytest.mark.parametrize("seed, name", enumerate(TASKS))
def test_row_34_wrong_values_end_in_one_sentence_with_the_key(seed, name):
    draw, cfg = random.Random(seed), shipped_config(name)
    for pattern, keys in keys_in(cfg).items():
        key = draw.choice(keys)
        value = wrong_value(draw, pattern)
        before = OmegaConf.to_container(cfg, resolve=False)
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
        with pytest.raises(UserError) as raised:
            check_values(cfg)
        message = str(raised.value)
        # of a reference, the first key is named that needs its value
        found = message.startswith((f"{key}=", f"{key}[")) or "nowhere.at_all" in message
        assert found and "\n" not in message, (key, value, message)
        top = key.partition(".")[0]
        cfg[top] = before[top] if top in before else None


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("optimizer.lr=nan", "must be a number of at least 0"),
        ("optimizer.lr=-1", "must be a number of at least 0"),  # not the reference to it, base_lr
        ("train.max_iter=2.5", "must be a whole number of at least 1"),
        ("train.max_iter=null", "train.max_iter=None"),
        ("train.log_period=0", "must be a whole number of at least 1"),
        ("train.eval_period=-1", "must be a whole number of at least 0"),
        ("train.checkpointer.max_to_keep=-1", "must be a whole number of at least 0, or null"),
        ("dataloader.train.num_workers=true", "must be a whole number from 0 to 4,096"),
        ("train.seed=true", "must be -1, which draws one, or a whole number from 0 to"),
        ("train.seed=5000000000", "must be -1, which draws one, or a whole number from 0 to"),
        ("dataloader.train.total_batch_size=0", "must be a whole number of at least 1"),
        ("train.clip_gradients=0", "must be a number above 0, or null"),
        ("train.amp.dtype=float8", "must be one of float16, bfloat16"),
        ("train.eval_precision=float16", "must be one of fp32, bf16, fp16"),
        ("train.amp=true", "must be a section of keys"),
        (f"{ACTIVATIONS}=all", "must be one of False, True, branches, attention, mlp"),
        (f"{ACTIVATIONS}=[mlp,true,0.5,false]", "[2]=0.5 of the config must be one of False"),
        ("train.ema.decay=1", "must be at least 0 and below 1"),
        ("model.roi_heads.box_predictor.test_score_thresh=5", "must be from 0 to 1"),
        ("train.device=gpu", "must be cpu, mps, cuda, or cuda:N"),
        ("model.pixel_std=[58,0,57]", "must be a number above 0"),
        ("dataloader.pictures.value_range=[0,x]", "dataloader.pictures.value_range[1]='x'"),
        ("dataloader.pictures.bands=[1,2]", "must be a list of 3 numbers, or null"),
        ("dataloader.pictures.max_pixels=0", "must be a whole number of at least 1, or null"),
        ("+train.max_iter.more=1", "cannot be applied"),
        ("+train.more=1,2", r"write a list as key=[1,2]"),
    ],
)
def test_overrides(override, sentence):
    with pytest.raises(UserError) as raised:
        apply_overrides(shipped_config("quickstart"), [override])
    message = str(raised.value)
    assert override.partition("=")[0] in message and sentence in message


@pytest.mark.parametrize("wrong", [True, "x", float("nan"), "${nowhere.at_all}"])
def test_an_override_corrects_a_wrong_value(wrong):
    cfg = shipped_config("quickstart")
    cfg.dataloader.train.num_workers = wrong
    with pytest.raises(UserError, match="train.num_workers"):
        apply_overrides(cfg, ["dataloader.train.num_workers=x"])
    assert apply_overrides(cfg, ["dataloader.train.num_workers=2"]) is cfg


@pytest.mark.parametrize(
    "file, text", [("run.yaml", "train: {log_period: 0}"), ("run.py", "train = dict(log_period=0)")]
)
def test_files_of_both_kinds(file, text, tmp_path):
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match="train.log_period=0 of the config must be"):
        get_config(str(tmp_path / file))


def test_other_classes_may_mean_other_things_by_the_same_names(tmp_path):
    cfg = toy.config(tmp_path)
    cfg.model.drop_path_rate = 7
    check_run(cfg, training=True)
    cfg.model = L(toy.nn.Linear)(drop_path_rate=7)
    with pytest.raises(UserError, match="model.drop_path_rate=7"):
        check_run(cfg, training=True)


def test_what_a_run_needs_and_the_config_lacks(tmp_path):
    cfg = toy.config(tmp_path)
    del cfg.train.log_period
    check_run(cfg, training=False)
    with pytest.raises(UserError, match="The config has no train.log_period: add it"):
        toy.do_train(toy.Namespace(resume=False), cfg)
    assert not list(tmp_path.glob("*.json"))
