"""Pictures and videos for the tests of prediction, and finished runs of tiny models."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from detectron2.config import LazyConfig, instantiate
from omegaconf import DictConfig

QUICKSTART = str(Path(__file__).resolve().parents[2] / "configs" / "quickstart.py")
TINY = [
    "model.backbone.bottom_up.embed_dim=8",
    "model.backbone.out_channels=16",
    "model.roi_heads.box_head.fc_dims=[16,16]",
    "model.roi_heads.mask_head.conv_dims=[16,16]",
    "model.roi_heads.box_predictor.test_topk_per_image=8",
    "dataloader.test.mapper.augmentations.0.short_edge_length=64",
]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Coloured squares, (H, W, 3) BGR."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def write_video(path: Path, count: int, fps: float, size: tuple[int, int]) -> None:
    """Write frames of one gray each, lighter by 10 each, in a codec that any OpenCV has."""
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    video = cv2.VideoWriter(str(path), codec, fps, size[::-1])
    assert video.isOpened()
    for index in range(count):
        video.write(np.full((*size, 3), 10 * index % 250, np.uint8))
    video.release()


def moving(count: int, seed: int, size=(72, 96)) -> np.ndarray:
    """Frames (N, H, W, 3) BGR of squares that move to the right and change."""
    pictures = [picture(*size, seed), picture(*size, seed + 100)]
    mixed = [np.roll(pictures[n * 2 // count], 5 * n, axis=1) for n in range(count)]
    return np.stack(mixed)


def write_clip(path: Path, count: int, fps: float, seed: int, size=(72, 96)) -> None:
    """Write `moving` as a video file, slightly changed by its codec."""
    frames = moving(count, seed, size)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, size[::-1])
    for frame in frames:
        video.write(frame)
    video.release()


def finished_run(cfg: DictConfig, folder: Path) -> SimpleNamespace:
    """Write what a training leaves: ``folder`` with ``config``, ``weights``, and ``cfg``."""
    torch.manual_seed(0)
    model = instantiate(cfg.model)
    if hasattr(model, "head"):
        for parameter in model.head.parameters():
            torch.nn.init.normal_(parameter)  # so that classes differ by input
    weights = folder / "model_final.pth"
    torch.save({"model": model.state_dict(), "iteration": 0}, weights)
    config = folder / "config.yaml"
    LazyConfig.save(cfg, str(config))
    return SimpleNamespace(folder=folder, weights=weights, config=config, cfg=cfg)
