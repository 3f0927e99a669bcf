"""Golden names and shapes of the published video models, from the code bases that define them.

    python tests/golden/make_checkpoint_keys.py

needs PySlowFast, MMAction2, MMSelfSup and its projects/maskfeat_video importable, from clones of
their repositories, whose configs it reads. It writes ``checkpoint_keys.json`` beside this script:
for each published file of ``mvit_det.checkpoint.published`` in one of their formats, the names and
shapes that the code of its publisher gives to a model of that config. No weights are needed.

Tests import the functions of the first half; the second half is the generator.
"""

import json
import re
from pathlib import Path
from runpy import run_path

KEYS = Path(__file__).resolve().parent / "checkpoint_keys.json"
COMMAND = "python tests/golden/make_checkpoint_keys.py (with PySlowFast, MMAction2 and MMSelfSup)"


def read_keys() -> dict[str, dict[str, list[int]]]:
    """Published name -> name of each tensor -> shape."""
    content = json.loads(KEYS.read_text())
    models = {}
    for model, parts in content["models"].items():
        models[model] = dict(parts["outside"])
        for first, last, which in parts["blocks"]:
            for index in range(first, last + 1):
                for name, shape in content["blocks"][which].items():
                    models[model][f"{parts['prefix']}{index}.{name}"] = shape
    return models


# ------------------------------------------------------------------------------- the generator

# Published name, or another name in words -> (config file, overrides).
PYSLOWFAST = {
    "images T": ("ImageNet/MVITv2_T", []),
    "images S": ("ImageNet/MVITv2_S", []),
    "mvitv2_s_16x4_k400": ("Kinetics/MVITv2_S_16x4", []),
    "mvitv2_b_32x3_k400": ("Kinetics/MVITv2_B_32x3", []),
    "mvitv2_l_40x3_k400": ("Kinetics/MVITv2_L_40x3_test", []),
    "mvitv2_s_16x4_ssv2": ("SSv2/MVITv2_S_16x4", []),
    "mvitv2_b_32x3_ssv2": ("SSv2/MVITv2_B_32x3", []),
    "mvitv2_l_40x3_ssv2": ("SSv2/MVITv2_L_40x3", []),
    "mvitv2_s_16x4_maskfeat_k400": ("masked_ssl/k400_MVITv2_S_16x4_MaskFeat_PT", []),
    "mvitv2_l_16x4_maskfeat_k400": ("masked_ssl/k400_MVITv2_L_16x4_MaskFeat_PT", []),
}
# Published name -> config file.
MMACTION2 = {
    "mmaction2/mvit-small-p244_16x4x1_kinetics400-rgb": (
        "mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb"
    ),
    "mmaction2/mvit-base-p244_32x3x1_kinetics400-rgb": "mvit-base-p244_32x3x1_kinetics400-rgb",
    "mmaction2/mvit-large-p244_40x3x1_kinetics400-rgb": "mvit-large-p244_40x3x1_kinetics400-rgb",
    "mmaction2/mvit-small-p244_u16_sthv2-rgb": "mvit-small-p244_k400-pre_16xb16-u16-100e_sthv2-rgb",
    "mmaction2/mvit-base-p244_u32_sthv2-rgb": "mvit-base-p244_u32_sthv2-rgb",
    "mmaction2/mvit-large-p244_u40_sthv2-rgb": "mvit-large-p244_u40_sthv2-rgb",
    **{
        f"mmaction2/{config}": config
        for config in (
            "mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb",
            "mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb",
            "mvit-small-p244_k400-pre_16xb16-u16-100e_sthv2-rgb",
        )
    },
}
# Published name -> config file of projects/maskfeat_video.
MMSELFSUP = {
    "mmselfsup/maskfeat_mvit-small_16xb32-amp-coslr-300e_k400": (
        "maskfeat_mvit-small_16xb32-amp-coslr-300e_k400"
    ),
}


def build_pyslowfast(config: str, overrides: list):
    """Build a model of PySlowFast."""
    import slowfast
    from slowfast.config.defaults import get_cfg
    from slowfast.models import MODEL_REGISTRY

    cfg = get_cfg()
    cfg.set_new_allowed(True)  # configs at HEAD have keys that its defaults lack
    folder = Path(slowfast.__file__).resolve().parents[1] / "configs"
    cfg.merge_from_file(str(folder / f"{config}.yaml"))
    cfg.merge_from_list([*overrides, "NUM_GPUS", 0])
    return MODEL_REGISTRY.get(cfg.MODEL.MODEL_NAME)(cfg)


def build_mmaction2(config: str):
    """Build a model of MMAction2, with its head."""
    import mmaction
    from mmaction.registry import MODELS
    from mmaction.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    folder = Path(mmaction.__file__).resolve().parents[1] / "configs/recognition/mvit"
    return MODELS.build(Config.fromfile(str(folder / f"{config}.py")).model)


def build_mmselfsup(config: str):
    """Build a model of MMSelfSup's projects/maskfeat_video, which is on the path."""
    import models  # that of the project
    from mmselfsup.registry import MODELS
    from mmselfsup.utils import register_all_modules

    register_all_modules()
    folder = Path(models.__file__).resolve().parents[1] / "configs"
    return MODELS.build(run_path(str(folder / f"{config}.py"))["model"])


def shapes_of(model) -> dict[str, list[int]]:
    """Name -> shape of all that a checkpoint of the model holds."""
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def shorten(shapes: dict[str, list[int]], known: list[dict]) -> dict:
    """Say which of the known blocks a model consists of, and add to them what is new."""
    prefix, outside, inside = "", {}, {}
    for name, shape in shapes.items():
        found = re.fullmatch(r"(.*\bblocks\.)(\d+)\.(.+)", name)
        if found:
            prefix = found[1]
            inside.setdefault(int(found[2]), {})[found[3]] = shape
        else:
            outside[name] = shape
    runs: list[list[int]] = []  # first block, last block, index in `known`
    for index, block in sorted(inside.items()):
        if block not in known:
            known.append(block)
        which = known.index(block)
        if runs and runs[-1][2] == which:
            runs[-1][1] = index
        else:
            runs.append([index, index, which])
    return {"outside": outside, "prefix": prefix, "blocks": runs}


def main() -> None:
    """Build every model and write the file."""
    blocks: list[dict] = []
    models = {}
    for name, (config, overrides) in PYSLOWFAST.items():
        models[name] = shorten(shapes_of(build_pyslowfast(config, overrides)), blocks)
    for name, config in MMACTION2.items():
        models[name] = shorten(shapes_of(build_mmaction2(config)), blocks)
    for name, config in MMSELFSUP.items():
        models[name] = shorten(shapes_of(build_mmselfsup(config)), blocks)
    text = json.dumps({"command": COMMAND, "models": models, "blocks": blocks}, indent=1)
    # every list of numbers on one line
    text = re.sub(r"\[[\d,\s]*\]", lambda found: json.dumps(json.loads(found[0])), text)
    KEYS.write_text(text + "\n")


if __name__ == "__main__":
    main()
