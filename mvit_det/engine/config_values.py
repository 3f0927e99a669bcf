"""Check the values of a config by their keys, before anything starts: `TABLE`.

Constructors that check their own arguments do so too late for some of them, and name no key.
"""

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mvit_det.backbone.block import RECOMPUTED
from mvit_det.checkpoint.inflation import INFLATIONS
from mvit_det.errors import (
    UserError,
    brief,
    check_choice,
    check_count,
    check_number,
    check_positive,
    check_share,
)
from mvit_det.precision import PRECISIONS

Check = Callable[..., None]  # (owner, **{key: value}) raises a UserError
_OWNER = "the config"


def _check(what: str, valid: Callable[[Any], bool]) -> Check:
    """Make a check of any values; ``what`` is allowed, for the message."""

    def check(owner: str, **values: Any) -> None:
        for name, value in values.items():
            if not valid(value):
                raise UserError(f"{name}={brief(value)} of {owner} must be {what}.")

    return check


def _number(what: str, valid: Callable[[Any], bool]) -> Check:
    def check(owner: str, **values: Any) -> None:
        check_number(owner, what, valid, **values)

    return check


def _whole(least: int, most: float = math.inf) -> Check:
    """Make a check of integers; a larger one would overflow later."""
    what = f"a whole number from {least:,} to {most:,}"
    what = f"a whole number of at least {least}" if most == math.inf else what
    return _number(what, lambda value: isinstance(value, int) and least <= value <= most)


def _or_null(check: Check) -> Check:
    def check_unless_null(owner: str, **values: Any) -> None:
        try:
            check(owner, **{name: value for name, value in values.items() if value is not None})
        except UserError as error:
            raise UserError(f"{str(error)[:-1]}, or null.") from None

    return check_unless_null


def _list(check: Check, count: int | None = None) -> Check:
    """Make a check of lists, all of whose items ``check`` allows."""

    def check_items(owner: str, **values: Any) -> None:
        for name, value in values.items():
            if not isinstance(value, list) or count not in (None, len(value)):
                size = "" if count is None else f"{count} "
                raise UserError(
                    f"{name}={brief(value)} of {owner} must be a list of {size}numbers."
                )
            check(owner, **{f"{name}[{index}]": item for index, item in enumerate(value)})

    return check_items


def _or_list(check: Check) -> Check:
    """Make a check of one value, or of all values of a list."""

    def check_either(owner: str, **values: Any) -> None:
        for name, value in values.items():
            (_list(check) if isinstance(value, list) else check)(owner, **{name: value})

    return check_either


def _are_categories(value: Any) -> bool:
    rows = value if isinstance(value, list) else [value]
    return isinstance(value, (str, type(None))) or all(
        isinstance(row, dict)
        and isinstance(row.get("id"), int)
        and isinstance(row.get("name"), str)
        for row in rows
    )


_SECTION = _check("a section of keys", lambda value: isinstance(value, (dict, DictConfig)))
# Objects, such as a function, serve in place of a section that describes their call.
_PLAIN = (str, bool, int, float, list, type(None))
_PART = _check("a section of keys", lambda value: not isinstance(value, _PLAIN))
_TEXT = _check("text", lambda value: isinstance(value, str))
_LETTERS = _check("letters of qkv", lambda value: isinstance(value, str) and {*value} <= {*"qkv"})
_FLAG = _check("true or false", lambda value: isinstance(value, bool))
_DEVICE = _check(
    "cpu, mps, cuda, or cuda:N",
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"cpu|mps|cuda(:\d{1,4})?", value)),
)
_SEED = _whole(0, 2**63 - 1)
# NumPy's seeds have 32 bits, and each process adds its rank.
_RUN_SEED = _number(
    "-1, which draws one, or a whole number from 0 to 4,000,000,000",
    lambda value: isinstance(value, int) and -1 <= value <= 4_000_000_000,
)
_BELOW_1 = _number("at least 0 and below 1", lambda value: 0 <= value < 1)
_FINITE = _number("a finite number", math.isfinite)
_NOT_NEGATIVE = _number("a number of at least 0", lambda value: 0 <= value < math.inf)
_PERIOD = _whole(0)
_PROCESSES = _whole(0, 4096)

# check -> keys. "model.*.depth" is `depth` at any depth of `model`, if the class of that node is of
# this package, of Detectron2 or of torch: other classes may mean something else by the same name.
_KEYS: list[tuple[Check, str]] = [
    (
        _SECTION,
        "train train.amp train.ddp train.checkpointer model dataloader dataloader.train "
        "dataloader.test optimizer optimizer.params lr_multiplier",
    ),
    (_or_null(_SECTION), "train.ema"),
    (_PART, "dataloader.train.dataset dataloader.train.mapper dataloader.test.dataset"),
    (_or_null(_PART), "dataloader.test.mapper"),
    (_or_list(_PART), "dataloader.evaluator"),
    (
        _check("a list of {id: 1, name: dog}, or text with a name per line", _are_categories),
        "categories",
    ),
    (_TEXT, "train.output_dir"),
    (_or_null(_TEXT), "train.init_checkpoint train.best_metric dataloader.*.name"),
    (partial(check_choice, choices=INFLATIONS), "train.inflation"),
    (partial(check_choice, choices=("float16", "bfloat16")), "train.amp.dtype"),
    (partial(check_choice, choices=tuple(PRECISIONS)), "train.eval_precision"),
    (_DEVICE, "train.device"),
    (_RUN_SEED, "train.seed"),
    (_or_null(_SEED), "dataloader.train.seed"),
    (
        _FLAG,
        "train.init_ema model.masks train.amp.enabled train.ema.enabled "
        "train.ddp.broadcast_buffers train.ddp.find_unused_parameters train.ddp.fp16_compression "
        "optimizer.*.nesterov optimizer.*.decay_positions dataloader.train.aspect_ratio_grouping "
        "dataloader.*.filter_empty dataloader.*.masks dataloader.*.is_train "
        "dataloader.*.use_instance_mask dataloader.*.recompute_boxes dataloader.*.annotated_boxes "
        "model.*.residual_pooling model.*.qkv_bias model.*.use_abs_pos model.*.use_rel_pos "
        "model.*.rel_pos_zero_init model.*.pretrain_use_cls_token "
        "model.*.coarse_global_kv model.*.fused_attention model.*.class_token "
        "model.*.pyslowfast_init model.*.test_flip model.*.cls_agnostic_bbox_reg "
        "dataloader.*.horizontal",
    ),
    (partial(check_choice, choices=("attention", "mlp")), "model.*.expand_in"),
    (partial(check_choice, choices=("full", "windows", "swin", "hwin")), "model.*.attention"),
    (_or_list(partial(check_choice, choices=RECOMPUTED)), "model.*.use_act_checkpoint"),
    (
        check_count,
        "train.max_iter train.gradient_accumulation train.log_period "
        "dataloader.train.total_batch_size dataloader.train.repeats dataloader.test.batch_size "
        "dataloader.*.clips dataloader.*.num_frames dataloader.*.num_images "
        "dataloader.*.num_pictures dataloader.*.num_examples dataloader.*.max_size "
        "dataloader.*.erase_count "
        "dataloader.*.target_height dataloader.*.target_width model.num_classes "
        "model.roi_heads.num_classes model.*.embed_dim model.*.depth model.*.num_heads "
        "model.*.in_chans model.*.pretrain_img_size model.*.roi_size model.*.out_channels "
        "model.*.batch_size_per_image model.*.test_topk_per_image model.*.test_max_size "
        "model.*.width_growth",
    ),
    (_or_null(check_count), "dataloader.*.num_classes model.*.max_views model.max_detections"),
    (_or_null(check_count), "dataloader.*.max_detections dataloader.*.max_pixels"),
    (_or_list(check_count), "model.*.img_size model.*.adaptive_kv_stride"),
    (_or_list(check_count), "dataloader.*.short_edge_length"),
    (_list(check_count), "model.*.input_size model.*.patch_kernel model.*.patch_stride"),
    (_list(_whole(0)), "model.*.last_block_indexes model.*.patch_padding"),
    (_list(check_count, 2), "model.*.pre_nms_topk model.*.post_nms_topk"),
    (_PERIOD, "train.checkpointer.period train.eval_period"),
    (_or_list(_PERIOD), "model.*.adaptive_window_size"),
    (_or_null(_list(_PERIOD)), "model.*.halving_blocks"),
    (_LETTERS, "model.*.full_pooling model.*.rel_pos_on"),
    (_PERIOD, "dataloader.*.min_seen"),
    (_or_null(_PERIOD), "train.checkpointer.max_to_keep"),
    (_PROCESSES, "dataloader.train.num_workers dataloader.test.num_workers"),
    (_or_null(check_positive), "train.clip_gradients dataloader.*.fps"),
    (check_positive, "dataloader.*.target_fps dataloader.*.min_scale dataloader.*.max_scale"),
    (check_positive, "train.timeout model.*.mlp_ratio optimizer.*.eps"),
    (_NOT_NEGATIVE, "optimizer.lr optimizer.*.weight_decay optimizer.*.momentum"),
    (_NOT_NEGATIVE, "lr_multiplier.*.start_value lr_multiplier.*.end_value"),
    (_NOT_NEGATIVE, "lr_multiplier.*.warmup_factor model.*.smooth_l1_beta"),
    (_NOT_NEGATIVE, "dataloader.*.sampling_rate"),
    (_NOT_NEGATIVE, "dataloader.*.mixup_alpha dataloader.*.cutmix_alpha"),
    (_or_null(_NOT_NEGATIVE), "optimizer.*.base_lr optimizer.*.weight_decay_norm"),
    (_list(_NOT_NEGATIVE), "lr_multiplier.*.values"),
    (_list(_whole(0)), "lr_multiplier.*.milestones"),
    (_list(check_share), "lr_multiplier.*.lengths"),
    (_BELOW_1, "train.ema.decay model.*.drop_path_rate"),
    (_list(_BELOW_1, 2), "optimizer.*.betas"),
    (
        check_share,
        "lr_multiplier.*.warmup_length dataloader.*.max_bad_share dataloader.*.max_missing "
        "dataloader.*.score_threshold dataloader.*.min_score dataloader.*.prob "
        "dataloader.*.switch_prob dataloader.*.label_smoothing dataloader.*.hflip "
        "dataloader.*.erase_prob model.*.head_dropout model.*.test_score_thresh "
        "model.*.test_nms_thresh model.*.nms_thresh model.*.positive_fraction",
    ),
    (
        _number("above 0, and at most 1", lambda value: 0 < value <= 1),
        "optimizer.*.layer_decay dataloader.*.crop_ratio",
    ),
    (_FINITE, "dataloader.*.start model.*.head_init_scale"),
    (_or_null(_PART), "dataloader.pictures"),
    (_or_null(_list(_FINITE, 2)), "dataloader.pictures.value_range"),
    (_or_null(_list(check_count, 3)), "dataloader.pictures.bands"),
    (_list(_FINITE), "model.pixel_mean dataloader.*.mean dataloader.*.pixel_mean"),
    (_list(check_positive), "model.pixel_std dataloader.*.std dataloader.*.pixel_std"),
]
TABLE = {key: check for check, keys in _KEYS for key in keys.split()}
_ABSENT = object()
_PACKAGES = {"mvit_det", "detectron2", "fvcore", "torch"}

# What the loops read besides the arguments of classes.
_EVALUATION = (
    "model dataloader.test dataloader.evaluator train.output_dir train.init_checkpoint train.ddp "
    "train.device"
).split()
_TRAINING = (
    "dataloader.train.total_batch_size optimizer.params lr_multiplier train.max_iter "
    "train.amp.enabled train.checkpointer.period train.eval_period train.log_period"
).split()


def check_values(cfg: DictConfig) -> None:
    """Check the values of all keys of `TABLE` that a config has.

    Raises:
        UserError: names the key, its value and what is allowed.
    """
    for fault in _value_faults(cfg):
        raise fault


def _value_faults(cfg: DictConfig) -> Iterator[UserError]:
    """Yield what `check_values` raises, for each value that is not allowed."""
    plain = OmegaConf.to_container(cfg, resolve=False)  # fast; references are text like "${a.b}"
    found = [
        (key, value, check)
        for key, value, node in _entries(plain)
        if (check := _check_of(key, node)) is not None
    ]
    # references last, so that the message names the key which has the value
    for key, value, check in sorted(found, key=lambda entry: _refers(entry[1])):
        try:
            check(owner=_OWNER, **{key: _resolve(cfg, key) if _refers(value) else value})
        except UserError as fault:
            yield fault


def is_faulty(cfg: DictConfig, key: str) -> bool:
    """Return whether a config has a value at ``key`` that `check_values` refuses."""
    parent, _, name = key.rpartition(".")
    try:
        node: Any = OmegaConf.select(cfg, parent) if parent else cfg
        if not OmegaConf.is_config(node) or name not in map(str, node):
            return False
        plain: Any = OmegaConf.to_container(node, resolve=False)
        check = _check_of(key, plain)
        value = _resolve(cfg, key)
        if check:
            check(_OWNER, **{key: value})
    except (UserError, OmegaConfBaseException):
        return True
    return False


def check_sections(cfg: DictConfig) -> None:
    """Raise a `UserError` if a config has a value where it must have a section of keys."""
    for key in ("train", "model", "dataloader"):
        if key in cfg:
            _SECTION(_OWNER, **{key: _resolve(cfg, key)})


def check_run(cfg: DictConfig, training: bool) -> None:
    """Check that a config has all that a training or an evaluation needs, and `check_values`.

    Raises:
        UserError: a key is absent, or has a value that is not allowed.
    """
    for fault in run_faults(cfg, training):
        raise fault


def run_faults(cfg: DictConfig, training: bool) -> Iterator[UserError]:
    """Yield all faults of which `check_run` raises the first."""
    yield from _value_faults(cfg)
    for key in [*_EVALUATION, *_TRAINING] if training else _EVALUATION:
        if OmegaConf.select(cfg, key, default=_ABSENT) is _ABSENT:
            yield UserError(f"The config has no {key}: add it, as in the config quickstart.")


def _check_of(key: str, node: dict | list) -> Check | None:
    """Return the check of a key, whose parent is ``node``; None if there is none."""
    if key in TABLE or isinstance(node, list):
        return TABLE.get(key)
    target = node.get("_target_", "torch")
    module = target if isinstance(target, str) else getattr(target, "__module__", "")
    if str(module).partition(".")[0] not in _PACKAGES:
        return None
    return TABLE.get(f"{key.partition('.')[0]}.*.{key.rpartition('.')[2]}")


def _entries(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, dict | list]]:
    """Yield (dotted key, value, parent) of all values, lists and sections."""
    for name, value in node.items() if isinstance(node, dict) else enumerate(node):
        key = f"{prefix}{name}"
        yield key, None if value == "???" else value, node
        if isinstance(value, (dict, list)):
            yield from _entries(value, f"{key}.")


def _refers(value: Any) -> bool:
    return not isinstance(value, dict) and "${" in str(value)


def _resolve(cfg: DictConfig, key: str) -> Any:
    """Return the value of a key that refers to others.

    Raises:
        UserError: such another key does not exist.
    """
    try:
        value = OmegaConf.select(cfg, key)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_list(value) else value
    except (OmegaConfBaseException, RecursionError) as error:
        detail = str(error).splitlines()[0]
        raise UserError(f"{key} refers to another key, which has no value: {detail}.") from error
