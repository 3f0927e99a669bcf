"""The catalogue lists only what some config loads: each entry against the config that it names.

Names and shapes are those that the publisher's code gives to the model: timm's and torchvision's
themselves, ``golden/checkpoint_keys.json`` of PySlowFast, MMAction2 and MMSelfSup, and timm's also
for facebookresearch/mvit, whose files it loads.
"""

import re
from functools import cache

import pytest
import timm
import torch
from detectron2.config import instantiate
from golden.make_checkpoint_keys import read_keys
from shipped_configs import shipped_config
from torchvision.models.video import mvit_v2_s

from mvit_det.checkpoint import fit
from mvit_det.checkpoint.converting import translate
from mvit_det.checkpoint.formats import FORMATS
from mvit_det.checkpoint.published import PUBLISHED
from mvit_det.checkpoint.weights import Weights, from_content

KEYS = read_keys()
SIZES = {"T": "tiny", "S": "small", "B": "base", "L": "large", "H": "huge"}


@cache
def state_of_config(name: str) -> dict[str, torch.Tensor]:
    """What the model of a config holds, on the meta device."""
    with torch.device("meta"):
        return instantiate(shipped_config(name).model).state_dict()


@cache
def of_timm(size: str) -> Weights:
    with torch.device("meta"):
        return from_content(timm.create_model(f"mvitv2_{size}").state_dict(), size)


def published_file(name: str) -> Weights:
    """What the published file of that name holds, without numbers."""
    row = PUBLISHED[name]
    if name in KEYS:
        tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS[name].items()}
        return from_content({FORMATS[row.format].wrapper: tensors}, name)
    if row.format == "torchvision":
        with torch.device("meta"):
            return from_content(mvit_v2_s().state_dict(), name)
    if row.format in ("timm", "mvit"):
        weights = of_timm(SIZES[row.what[0]] + "_cls" * ("21K" in row.what))
        return from_content(translate(weights, row.format)[0], name)
    assert row.format == "detectron2"  # whose heads are those of the host
    return from_content({"model": state_of_config(name)}, name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_entry_is_what_a_config_loads(name):
    row, cfg = PUBLISHED[name], shipped_config(PUBLISHED[name].config)
    weights = published_file(name)
    report = fit(weights, state_of_config(row.config), cfg.train.inflation).report
    assert weights.format == row.format and weights.layout.variant == row.what[0]
    if "pre-training" in row.what:
        assert cfg.train.init_checkpoint == name
        assert report.backbone_share == 1 and not report.mismatched
        assert set(report.dropped.values()) == {"part of masked pre-training"}
        return
    assert report.complete and not report.resized and not report.dropped
    # the same data and clip as what is released for the config
    released = PUBLISHED[cfg.published.weights]
    assert summary(row.what) == summary(released.what)
    if row.format == "detectron2":
        assert row.config == name and ("box_head.0.conv1" in str(report.used)) == (
            "Cascade" in row.what
        )


def summary(what: str) -> list[str]:
    """The network, the data and the classes of an entry."""
    return re.findall(
        r"^\w|ImageNet-2?1K|Kinetics-\d+|Something-Something-v2|COCO|\d+ classes", what
    )
