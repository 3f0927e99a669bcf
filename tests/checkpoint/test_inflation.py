"""A network for clips that starts from the weights of one for images."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from weight_files import classifier, clip_classifier, mvit_names

from mvit_det.backbone import attention
from mvit_det.backbone.pooling import pool_heads
from mvit_det.checkpoint import fit
from mvit_det.checkpoint.inflation import INFLATIONS
from mvit_det.checkpoint.weights import from_content
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.errors import UserError

KV = dict(adaptive_kv_stride=(8, 8))  # the released models of clips pool twice as far
PIXELS = 64


def pair(inflation="centre", class_token=False, image_options=KV):
    """Build a model for images, one for clips that starts from it, both float64, and the report."""
    image = classifier(class_token=class_token, **image_options).double()
    clip = clip_classifier(class_token=class_token).double()
    fitted = fit(from_content(mvit_names(image), "x.pyth"), clip.state_dict(), inflation)
    clip.load_state_dict(fitted.state, strict=False)
    return image, clip, fitted.report


def still(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw two images, and clips that repeat them."""
    images = torch.randn(2, 3, PIXELS, PIXELS, dtype=torch.float64)
    return images, images.unsqueeze(2).expand(-1, -1, frames, -1, -1)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("deep_pools", [False, True])
@pytest.mark.parametrize("inflation", INFLATIONS)
def test_the_slices_of_a_convolution(inflation, deep_pools):
    state = mvit_names(classifier(**KV))
    kernels = {n: v for n, v in state.items() if v.ndim == 4}
    assert len(kernels) == 1 + 3 * 6
    if deep_pools:  # as PySlowFast stores images
        state = {n: v.unsqueeze(2) if ".pool_" in n else v for n, v in state.items()}
    fitted = fit(from_content(state, "x"), clip_classifier().state_dict(), inflation)
    for name, kernel in kernels.items():
        got, nothing = fitted.state["backbone." + name], torch.zeros_like(kernel)
        slices = {
            "centre": [nothing, kernel, nothing],
            "mean": [kernel / 3] * 3,
            "repeat": [kernel] * 3,
        }
        assert got.equal(torch.stack(slices[inflation], dim=2))
    assert fitted.report.resized["backbone.patch_embed.proj.weight"] == (
        "16x3x7x7 -> 16x3x3x7x7, the weights "
        + dict(
            centre="in the centre frame, zeros in the others",
            mean="over 3 in each frame",
            repeat="in each frame",
        )[inflation]
    )


def test_tables_in_time_start_at_zero():
    report = pair()[2]
    tables = {f"backbone.blocks.{n}.attn.rel_pos_t" for n in range(6)}
    assert set(report.zeroed) == tables and not report.missing
    assert report.complete and report.backbone_share == 1
    line = "set to zero, 6:\n  backbone.blocks.{0..5}.attn.rel_pos_t: the file is for images, time"
    assert line in str(report) and "not in the file" not in str(report)
    _, clip, _ = pair()
    assert all(not clip.state_dict()[name].any() for name in tables)


@pytest.mark.parametrize("inflation", ["mean", "repeat"])
def test_the_rules_of_pyslowfast_keep_the_tables_in_time(inflation):
    _, clip, report = pair(inflation)
    tables = {f"backbone.blocks.{n}.attn.rel_pos_t" for n in range(6)}
    assert report.missing == dict.fromkeys(tables, "the file is for images") and not report.zeroed
    assert all(clip.state_dict()[name].any() for name in tables)
    assert "not in the file, keep their initial values, 6:" in str(report)


def test_other_missing_tensors_are_not_set_to_zero():
    state = mvit_names(clip_classifier())
    del state["blocks.1.attn.rel_pos_t"]
    report = fit(from_content(state, "x"), clip_classifier().state_dict()).report
    assert not report.zeroed and set(report.missing) == {"backbone.blocks.1.attn.rel_pos_t"}
    state = mvit_names(classifier(use_rel_pos=False))
    report = fit(from_content(state, "x"), clip_classifier().state_dict()).report
    assert not report.zeroed and "backbone.blocks.1.attn.rel_pos_t" in report.missing
    longer = clip_classifier(last_block_indexes=(0, 2, 5, 6))
    report = fit(from_content(mvit_names(classifier()), "x"), longer.state_dict()).report
    assert report.missing["backbone.blocks.6.attn.rel_pos_t"] == "the file has 6 blocks"


# A still clip of T frames becomes T' = ceil(T / 2) equal layers of tokens. In the softmax every key
# of the image is there T' times: each copy has the share w / T', and the values are equal.


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 16])
def test_a_still_clip_equals_the_image(frames):
    image, clip, report = pair()
    assert report.complete
    x, frozen = still(frames)
    with torch.no_grad():
        close(clip.logits(frozen), image.logits(x))


def test_a_still_clip_equals_the_image_with_other_pooling():
    # the first block of stage 3 then has longer tables (55 -> 27 rows at 224 pixels)
    image, clip, report = pair(image_options={})
    resized = [name for name in report.resized if "rel_pos" in name]
    assert resized == [f"backbone.blocks.3.attn.rel_pos_{axis}" for axis in "hw"]
    for block, stride in zip(image.backbone.blocks, [8, 4, 4, 2, 2, 1]):
        for pool in (block.attn.pool_k, block.attn.pool_v):
            pool.stride = (stride, stride)
    x, frozen = still(6)
    with torch.no_grad():
        close(clip.logits(frozen), image.logits(x))


@pytest.mark.parametrize("frames", [5, 8])
def test_the_key_of_a_class_token_counts_once_against_the_copies(frames, monkeypatch):
    # exp(c) + T' * sum exp(k) = T' * (exp(c - log T') + sum exp(k)): exactly the network of the
    # image whose logits for the class token's key are lower by log T'.
    image, clip, _ = pair(class_token=True)
    x, frozen = still(frames)
    plain = attention.MultiScaleAttention.attend_plain
    lower = math.log(math.ceil(frames / 2))

    def attend(self, q, k, v, terms, class_qkv):
        """Lower the logits of the class token's key by a further channel, 1 in all queries."""
        class_q, class_k, class_v = class_qkv
        q, class_q = (nn.functional.pad(t, (0, 1), value=1 / self.scale) for t in (q, class_q))
        k = nn.functional.pad(k, (0, 1))
        class_k = nn.functional.pad(class_k, (0, 1), value=-lower)
        padded = [replace(t, table=nn.functional.pad(t.table, (0, 1))) for t in terms.logits]
        return plain(self, q, k, v, terms._replace(logits=padded), (class_q, class_k, class_v))

    with torch.no_grad():
        unchanged, logits = image.logits(x), clip.logits(frozen)
        monkeypatch.setattr(attention.MultiScaleAttention, "attend_fused", attend)
        close(logits, image.logits(x))
    assert (logits - unchanged).abs().max() > 1e-6


def test_with_the_mean_an_endless_still_clip_equals_the_image(monkeypatch):
    image, clip, _ = pair("mean")
    x, frozen = still(8)
    with torch.no_grad():
        for block in clip.backbone.blocks:
            block.attn.rel_pos_t.zero_()
        assert (clip.logits(frozen) - image.logits(x)).abs().max() > 1e-6
        endless(clip, monkeypatch)
        close(clip.logits(frozen), image.logits(x))


def endless(clip, monkeypatch) -> None:
    """Make the clip a ring in time, so that no convolution reads zeros beyond its ends."""
    embed = clip.backbone.patch_embed.forward

    def embed_ring(x):
        return embed(torch.cat([x[:, :, -2:], x, x[:, :, :2]], dim=2))[:, 1:-1]

    def pool_ring(x, pool, num_heads):
        if x.ndim == 5:
            return pool_heads(torch.cat([x[:, -1:], x, x[:, :1]], dim=1), pool, num_heads)[:, 1:-1]
        return pool_heads(x, pool, num_heads)

    monkeypatch.setattr(clip.backbone.patch_embed, "forward", embed_ring)
    monkeypatch.setattr(attention, "pool_heads", pool_ring)


def test_training_changes_tensors_that_start_at_zero():
    _, clip, report = pair()
    clip.train()
    inputs = torch.randn(2, 3, 8, PIXELS, PIXELS, dtype=torch.float64)
    clip({"inputs": inputs, "labels": torch.tensor([0, 3])})["loss_cls"].backward()
    parameters = dict(clip.named_parameters())
    for name in report.zeroed:
        assert parameters[name].grad.abs().max() > 0
    for name, note in report.resized.items():
        if "zeros in the others" in note:
            slices = parameters[name].grad.abs().amax(dim=(0, 1, 3, 4))
            assert (slices > 0).all() and not parameters[name][:, :, 0].any()


# --------------------------------------------------------------------------------- the checkpointer


def image_file(folder, **options) -> str:
    path = folder / "image.pyth"
    torch.save({"model_state": mvit_names(classifier(7, **options))}, path)
    return str(path)


def test_training_starts_with_the_configured_rule(tmp_path):
    path = image_file(tmp_path)
    for inflation, share in (("centre", 0), ("mean", 1 / 3), ("repeat", 1)):
        model = clip_classifier()
        StrictCheckpointer(model, inflation=inflation).load(path)
        kernel = torch.load(path)["model_state"]["patch_embed.proj.weight"]
        assert model.backbone.patch_embed.proj.weight[:, :, 0].allclose(kernel * share)
    with pytest.raises(
        UserError, match="inflation='center' of train, the rule .* one of centre, mean, rep"
    ):
        StrictCheckpointer(model, inflation="center")


def test_a_run_on_clips_does_not_resume_from_images(tmp_path, caplog):
    model = clip_classifier(7, class_token=False)
    with pytest.raises(UserError, match="is for another architecture"):
        StrictCheckpointer(model).resume(image_file(tmp_path, **KV))
    StrictCheckpointer(model).load(image_file(tmp_path, **KV))
    assert "without training" not in caplog.text
    StrictCheckpointer(model, complete=True).load(image_file(tmp_path, **KV))
    assert "was trained on images: inflated to clips without training" in caplog.text
    with pytest.raises(UserError, match="missing: backbone.blocks.0.attn.rel_pos_t"):
        StrictCheckpointer(model, complete=True, inflation="mean").load(image_file(tmp_path, **KV))
